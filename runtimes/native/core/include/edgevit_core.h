/* What stands around a network in an app: the network's input from a camera frame, the exact mask
 * of coarse logits, an overlay of it, and the statistics of latencies.
 *
 * Plain C99 for every device. No function allocates memory or keeps any: the caller gives what is
 * needed, and calls with memory of their own may run in any threads at once. Every function checks
 * its arguments, and returns EDGEVIT_OK or an error, whose text edgevit_status_text gives.
 *
 * NEON is used where the compiler has it, unless EDGEVIT_SCALAR is defined. The results are the
 * same to the last bit either way, and the same as those of edgevit's numpy code.
 */
#ifndef EDGEVIT_CORE_H
#define EDGEVIT_CORE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define EDGEVIT_API
#else
#define EDGEVIT_API __attribute__((visibility("default")))
#endif

/* Raised with every change of a struct or function below. */
#define EDGEVIT_CORE_VERSION 1
EDGEVIT_API int32_t edgevit_core_version(void);
/* "neon" or "scalar". */
EDGEVIT_API const char *edgevit_core_kernels(void);

typedef enum {
  EDGEVIT_OK = 0,
  EDGEVIT_NULL = 1,    /* a pointer is NULL */
  EDGEVIT_SIZE = 2,    /* a width, height, count or stride is out of bounds */
  EDGEVIT_SHORT = 3,   /* a picture or map does not lie within its buffer */
  EDGEVIT_MEMORY = 4,  /* the working memory is too small, or not aligned to 16 bytes */
  EDGEVIT_OPTION = 5,  /* a layout, type, rotation or another option that does not exist */
  EDGEVIT_NUMBER = 6,  /* a mean, std or scale that is not finite, or a std or scale not above 0 */
  EDGEVIT_FRAME = 7,   /* a frame of another geometry than the plan was made for */
  EDGEVIT_OUTPUT = 8,  /* the output buffer has another size, or is not aligned to its type */
  EDGEVIT_LABEL = 9    /* a label without a color */
} edgevit_status;

/* One sentence in English; never NULL. */
EDGEVIT_API const char *edgevit_status_text(int32_t status);

/* ---- The network's input ------------------------------------------------------------------ */

/* The longest side of an input and of a frame, in pixels. */
#define EDGEVIT_LONGEST_INPUT 4096
#define EDGEVIT_LONGEST_FRAME 16384

/* One channel of a frame: pixel (x, y) is data[y * row_stride + x * pixel_stride]. */
typedef struct {
  const uint8_t *data;
  size_t size;          /* bytes from data that may be read */
  int32_t row_stride;   /* bytes, at least 1 */
  int32_t pixel_stride; /* bytes, at least 1 */
} edgevit_plane;

typedef enum {
  EDGEVIT_RGB = 0, /* planes red, green, blue, each width x height */
  EDGEVIT_YUV = 1  /* planes Y, U, V in the full range of JFIF (ITU-R BT.601); U and V have
                      (width + 1) / 2 x (height + 1) / 2 samples, each in the middle of its four
                      pixels: android.graphics.ImageFormat.YUV_420_888 as cameras fill it */
} edgevit_colors;

typedef struct {
  int32_t colors; /* edgevit_colors */
  int32_t width, height;
  edgevit_plane planes[3];
} edgevit_frame;

/* The three planes of an interleaved picture: RGBA with pixel_stride 4, RGB with 3. */
EDGEVIT_API edgevit_frame edgevit_interleaved(const uint8_t *data, size_t size, int32_t width,
                                              int32_t height, int32_t row_stride,
                                              int32_t pixel_stride);

typedef enum { EDGEVIT_NCHW = 0, EDGEVIT_NHWC = 1 } edgevit_layout;
typedef enum {
  EDGEVIT_FLOAT32 = 0,
  EDGEVIT_FLOAT16 = 1,
  EDGEVIT_UINT8 = 2, /* round(value / scale) + zero_point, ties to even, saturated */
  EDGEVIT_INT8 = 3
} edgevit_type;

/* How a frame becomes the input: turned and mirrored until it stands upright, resized as OpenCV's
 * INTER_LINEAR does it, cut or padded to width x height, (value - mean) / std on 0..255. Padding is
 * the mean color, that is zero.
 *
 *   fit of a manifest   resized_width x resized_height              left, top
 *   stretch             width x height                              0, 0
 *   pad                 the largest that fits in, proportions kept  0, 0
 *   crop                the smallest that covers it                 half of what is over
 */
typedef struct {
  int32_t width, height;
  int32_t resized_width, resized_height;
  int32_t left, top; /* the resized picture's pixel at the input's top left */
  int32_t rotation;  /* clockwise, until the frame stands upright: 0, 90, 180 or 270 degrees */
  int32_t mirror;    /* 1: left and right exchanged after the rotation (front cameras) */
  int32_t layout;    /* edgevit_layout; always red first */
  int32_t type;      /* edgevit_type */
  double mean[3], std[3];
  double scale; /* of an integer type; otherwise ignored, as is zero_point */
  int32_t zero_point;
} edgevit_input;

/* What the numbers say is worked out once, for frames of one size and one set of strides. A plan
 * lies in the caller's memory, and each thread needs its own.
 */
typedef struct edgevit_plan edgevit_plan;

/* Bytes of memory that a plan needs. */
EDGEVIT_API int32_t edgevit_plan_memory(const edgevit_input *input, const edgevit_frame *frame,
                                        size_t *bytes);
/* frame: its pixels are not read. memory: aligned to 16 bytes. */
EDGEVIT_API int32_t edgevit_plan_input(const edgevit_input *input, const edgevit_frame *frame,
                                       void *memory, size_t bytes, edgevit_plan **plan);
/* Bytes of the input. */
EDGEVIT_API int32_t edgevit_input_bytes(const edgevit_input *input, size_t *bytes);
/* Make the input of one frame. */
EDGEVIT_API int32_t edgevit_fill_input(edgevit_plan *plan, const edgevit_frame *frame, void *output,
                                       size_t bytes);

/* ---- The exact mask ----------------------------------------------------------------------- */

#define EDGEVIT_MOST_CLASSES 65536
#define EDGEVIT_LONGEST_MASK 16384

typedef struct {
  const float *data;
  size_t count; /* floats that may be read */
  int32_t classes, height, width;
  int32_t layout; /* edgevit_layout: [classes, height, width] or [height, width, classes] */
} edgevit_logits;

/* Bytes of working memory for a mask of width x height, and bytes of the mask itself: one a pixel
 * for up to 256 classes, otherwise two (uint16). Either pointer may be NULL.
 */
EDGEVIT_API int32_t edgevit_mask_memory(const edgevit_logits *logits, int32_t width, int32_t height,
                                        size_t *memory_bytes, size_t *mask_bytes);
/* The label of each pixel: equal to resizing the logits to width x height (bilinear, half-pixel
 * centers, no antialiasing; float32, columns first, no fused multiply-add) and taking the first of
 * the largest. NaN counts as numpy's argmax counts it. memory: aligned to 16 bytes.
 */
EDGEVIT_API int32_t edgevit_mask(const edgevit_logits *logits, int32_t width, int32_t height,
                                 void *mask, size_t mask_bytes, void *memory, size_t memory_bytes);

/* The same mask, with every class interpolated at every pixel: what the exact one is compared with. */
EDGEVIT_API int32_t edgevit_plain_mask(const edgevit_logits *logits, int32_t width, int32_t height,
                                       void *mask, size_t mask_bytes, void *memory,
                                       size_t memory_bytes);

/* ---- The overlay -------------------------------------------------------------------------- */

/* Color a mask, RGBA to RGBA. Without a picture, each pixel is its label's color as it stands in
 * the palette. With one, (picture * (255 - alpha) + color * alpha) / 255, rounded, where alpha is
 * the color's own; the result is opaque.
 *
 * mask: width x height labels of label_bytes (1 or 2). palette: RGBA of each class. picture: RGBA
 * of picture_bytes, row after row, or NULL; it may be the output itself.
 */
EDGEVIT_API int32_t edgevit_overlay(const void *mask, size_t mask_bytes, int32_t label_bytes,
                                    int32_t width, int32_t height, const uint8_t *palette,
                                    int32_t classes, const uint8_t *picture, size_t picture_bytes,
                                    uint8_t *output, size_t output_bytes);

/* ---- Latencies ---------------------------------------------------------------------------- */

typedef struct {
  int64_t count;
  double mean, least, p10, p50, p90, p99, most; /* nanoseconds */
} edgevit_latency;

/* Percentiles are interpolated linearly, as numpy's default is. The samples are put in order. */
EDGEVIT_API int32_t edgevit_summarize(int64_t *nanoseconds, size_t count, edgevit_latency *latency);

#ifdef __cplusplus
}
#endif
#endif
