/* A mask in colors, alone or over a picture. */
#include <string.h>

#include "edgevit_core.h"
#include "simd.h"

/* round(value / 255) for 0 <= value <= 65535 */
static uint32_t by_255(uint32_t value) {
  value += 128;
  return (value + (value >> 8)) >> 8;
}

/* colors: RGBA of each pixel; picture and output may be one. */
static void blend(const uint32_t *colors, const uint8_t *picture, uint8_t *output, int32_t count) {
  int32_t i = 0;
#if EDGEVIT_NEON
  const uint8x16_t alphas = {3, 3, 3, 3, 7, 7, 7, 7, 11, 11, 11, 11, 15, 15, 15, 15};
  const uint8x16_t opaque = vreinterpretq_u8_u32(vdupq_n_u32(0xff000000u));
  for (; i + 4 <= count; i += 4) {
    uint8x16_t color = vreinterpretq_u8_u32(vld1q_u32(colors + i));
    uint8x16_t below = vld1q_u8(picture + 4 * i);
    uint8x16_t alpha = vqtbl1q_u8(color, alphas), rest = vmvnq_u8(alpha);
    uint16x8_t low = vmlal_u8(vmull_u8(vget_low_u8(color), vget_low_u8(alpha)), vget_low_u8(below),
                              vget_low_u8(rest));
    uint16x8_t high = vmlal_high_u8(vmull_high_u8(color, alpha), below, rest);
    /* by_255: add 128, add its own upper byte, take the upper byte */
    low = vrsraq_n_u16(low, low, 8);
    high = vrsraq_n_u16(high, high, 8);
    uint8x16_t mixed = vrshrn_high_n_u16(vrshrn_n_u16(low, 8), high, 8);
    vst1q_u8(output + 4 * i, vorrq_u8(mixed, opaque));
  }
#endif
  for (; i < count; i++) {
    uint8_t color[4];
    memcpy(color, colors + i, 4);
    for (int k = 0; k < 3; k++)
      output[4 * i + k] =
          (uint8_t)by_255(color[k] * (uint32_t)color[3] + picture[4 * i + k] * (255u - color[3]));
    output[4 * i + 3] = 255;
  }
}

int32_t edgevit_overlay(const void *mask, size_t mask_bytes, int32_t label_bytes, int32_t width,
                        int32_t height, const uint8_t *palette, int32_t classes,
                        const uint8_t *picture, size_t picture_bytes, uint8_t *output,
                        size_t output_bytes) {
  enum { CHUNK = 64 };
  if (!mask || !palette || !output) return EDGEVIT_NULL;
  if (label_bytes != 1 && label_bytes != 2) return EDGEVIT_OPTION;
  if (width < 1 || width > EDGEVIT_LONGEST_MASK || height < 1 || height > EDGEVIT_LONGEST_MASK ||
      classes < 1 || classes > EDGEVIT_MOST_CLASSES)
    return EDGEVIT_SIZE;
  size_t pixels = (size_t)width * (size_t)height;
  if (mask_bytes != pixels * (size_t)label_bytes || (picture && picture_bytes != 4 * pixels))
    return EDGEVIT_SHORT;
  if (output_bytes != 4 * pixels) return EDGEVIT_OUTPUT;
  for (size_t at = 0; at < pixels; at += CHUNK) {
    int32_t count = pixels - at < CHUNK ? (int32_t)(pixels - at) : CHUNK;
    uint32_t colors[CHUNK];
    for (int32_t i = 0; i < count; i++) {
      uint16_t label;
      if (label_bytes == 1) label = ((const uint8_t *)mask)[at + (size_t)i];
      else memcpy(&label, (const uint8_t *)mask + 2 * (at + (size_t)i), 2);
      if (label >= classes) return EDGEVIT_LABEL;
      memcpy(colors + i, palette + 4 * (size_t)label, 4);
    }
    if (picture) blend(colors, picture + 4 * at, output + 4 * at, count);
    else memcpy(output + 4 * at, colors, 4 * (size_t)count);
  }
  return EDGEVIT_OK;
}
