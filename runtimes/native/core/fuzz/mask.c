/* Logits of any values and sizes: refused, or a mask within its buffer that is the plain one. */
#include <math.h>

#include "bytes.h"
#include "edgevit_core.h"

/* The definition, written a second time. */
static uint32_t label_at(const edgevit_logits *logits, int32_t width, int32_t height, int32_t x,
                         int32_t y) {
  float scale_x = (float)logits->width / (float)width, at_x = scale_x * ((float)x + 0.5f);
  float scale_y = (float)logits->height / (float)height, at_y = scale_y * ((float)y + 0.5f);
  at_x -= 0.5f;
  at_y -= 0.5f;
  at_x = at_x < 0 ? 0 : at_x;
  at_y = at_y < 0 ? 0 : at_y;
  int32_t x0 = (int32_t)at_x, y0 = (int32_t)at_y;
  x0 = x0 < logits->width ? x0 : logits->width - 1;
  y0 = y0 < logits->height ? y0 : logits->height - 1;
  int32_t x1 = x0 + 1 < logits->width ? x0 + 1 : x0, y1 = y0 + 1 < logits->height ? y0 + 1 : y0;
  float u1 = at_x - (float)x0, v1 = at_y - (float)y0;
  u1 = u1 > 1 ? 1 : u1;
  v1 = v1 > 1 ? 1 : v1;
  float u0 = 1.0f - u1, v0 = 1.0f - v1, best = 0;
  uint32_t label = 0;
  size_t line = (size_t)logits->width, map = line * (size_t)logits->height;
  for (int32_t c = 0; c < logits->classes; c++) {
    float corner[4];
    for (int k = 0; k < 4; k++) {
      size_t pixel = (size_t)(k < 2 ? y0 : y1) * line + (size_t)(k % 2 ? x1 : x0);
      corner[k] = logits->data[logits->layout == EDGEVIT_NCHW
                                   ? (size_t)c * map + pixel
                                   : pixel * (size_t)logits->classes + (size_t)c];
    }
    float top = corner[0] * u0 + corner[1] * u1, bottom = corner[2] * u0 + corner[3] * u1;
    float value = top * v0 + bottom * v1;
    if (c == 0 || value > best || (isnan(value) && !isnan(best))) {
      best = value;
      label = (uint32_t)c;
    }
  }
  return label;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_bytes bytes = {data, size};
  edgevit_logits logits = {NULL, 0, fuzz_number(&bytes, 40), fuzz_number(&bytes, 9),
                           fuzz_number(&bytes, 9), fuzz_number(&bytes, 1)};
  int32_t width = fuzz_number(&bytes, 60), height = fuzz_number(&bytes, 60);
  uint16_t room;
  uint8_t levels;
  fuzz_read(&bytes, &room, sizeof room);
  fuzz_read(&bytes, &levels, sizeof levels);
  size_t count = room % 4096;
  float *values = fuzz_buffer(&bytes, count * sizeof(float));
  if (levels >= 64) /* few small values: ties, and one class over wide areas */
    for (size_t i = 0; i < count; i++) {
      uint8_t byte;
      memcpy(&byte, (uint8_t *)values + 4 * i, 1);
      values[i] = (float)(byte % (1 + levels / 8)) - 3;
    }
  logits.data = values;
  logits.count = count;
  size_t memory_bytes, mask_bytes;
  if (!edgevit_mask_memory(&logits, width, height, &memory_bytes, &mask_bytes) &&
      memory_bytes < 1u << 22 && mask_bytes < 1u << 16) {
    void *memory = fuzz_buffer(&bytes, memory_bytes);
    uint8_t *mask = fuzz_buffer(&bytes, mask_bytes);
    if (edgevit_mask(&logits, width, height, mask, mask_bytes, memory, memory_bytes)) abort();
    for (int32_t y = 0; logits.classes <= 256 && y < height; y++)
      for (int32_t x = 0; x < width; x++)
        if (mask[(size_t)y * (size_t)width + (size_t)x] != label_at(&logits, width, height, x, y))
          abort();
    free(memory);
    free(mask);
  }
  free(values);
  return 0;
}
