/* The texts of the errors. */
#include "edgevit_core.h"
#include "simd.h"

int32_t edgevit_core_version(void) { return EDGEVIT_CORE_VERSION; }

const char *edgevit_core_kernels(void) { return EDGEVIT_NEON ? "neon" : "scalar"; }

const char *edgevit_status_text(int32_t status) {
  switch (status) {
    case EDGEVIT_OK: return "Done.";
    case EDGEVIT_NULL: return "A pointer that is needed is NULL.";
    case EDGEVIT_SIZE: return "A width, height, count or stride is out of bounds.";
    case EDGEVIT_SHORT: return "A picture or map does not lie within its buffer.";
    case EDGEVIT_MEMORY: return "The working memory is too small or not aligned to 16 bytes.";
    case EDGEVIT_OPTION: return "A layout, type, rotation or other option does not exist.";
    case EDGEVIT_NUMBER: return "Means must be finite; std and scale must be finite and above 0.";
    case EDGEVIT_FRAME: return "The frame has another geometry than the plan was made for.";
    case EDGEVIT_OUTPUT: return "The output buffer has the wrong size or alignment.";
    case EDGEVIT_LABEL: return "The mask holds a label that the palette has no color for.";
    default: return "There is no such status.";
  }
}
