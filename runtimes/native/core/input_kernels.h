/* The inner loops of a network's input: one row of pixels each. The scalar loop of a function is its
 * definition, and finishes what NEON leaves over.
 *
 * The arithmetic is OpenCV's 8-bit INTER_LINEAR (modules/imgproc/src/resize.cpp): weights of 11
 * bits, columns first, and two truncating shifts.
 */
#ifndef EDGEVIT_INPUT_KERNELS_H
#define EDGEVIT_INPUT_KERNELS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "simd.h"

/* output[i] = (w0[i] * row[offset[i]] + w1[i] * row[offset[i] + step]) >> 4. Weights are at most
 * 2048 each and 2049 together, so that the result is at most 32655.
 */
static void edgevit_blend_columns(const uint8_t *row, const int32_t *offset, ptrdiff_t step,
                                  const int16_t *w0, const int16_t *w1, int16_t *output,
                                  int32_t count) {
  int32_t i = 0;
#if EDGEVIT_NEON
  for (; i + 16 <= count; i += 16) {
    uint8_t pairs[32];
    if (step == 1) {
      for (int k = 0; k < 16; k++) memcpy(pairs + 2 * k, row + offset[i + k], 2);
    } else {
      for (int k = 0; k < 16; k++) {
        const uint8_t *pixel = row + offset[i + k];
        pairs[2 * k] = pixel[0];
        pairs[2 * k + 1] = pixel[step];
      }
    }
    uint8x16x2_t both = vld2q_u8(pairs);
    for (int half = 0; half < 2; half++) {
      uint16x8_t left = half ? vmovl_high_u8(both.val[0]) : vmovl_u8(vget_low_u8(both.val[0]));
      uint16x8_t right = half ? vmovl_high_u8(both.val[1]) : vmovl_u8(vget_low_u8(both.val[1]));
      uint16x8_t a = vreinterpretq_u16_s16(vld1q_s16(w0 + i + 8 * half));
      uint16x8_t b = vreinterpretq_u16_s16(vld1q_s16(w1 + i + 8 * half));
      uint32x4_t low = vmull_u16(vget_low_u16(left), vget_low_u16(a));
      uint32x4_t high = vmull_high_u16(left, a);
      low = vmlal_u16(low, vget_low_u16(right), vget_low_u16(b));
      high = vmlal_high_u16(high, right, b);
      uint16x8_t sum = vshrn_high_n_u32(vshrn_n_u32(low, 4), high, 4);
      vst1q_s16(output + i + 8 * half, vreinterpretq_s16_u16(sum));
    }
  }
#endif
  for (; i < count; i++) {
    const uint8_t *pixel = row + offset[i];
    output[i] = (int16_t)((w0[i] * pixel[0] + w1[i] * pixel[step]) >> 4);
  }
}

/* output[i] = ((w0 * top[i] >> 16) + (w1 * bottom[i] >> 16) + 2) >> 2, at most 255. */
static void edgevit_blend_rows(const int16_t *top, const int16_t *bottom, int16_t w0, int16_t w1,
                               uint8_t *output, int32_t count) {
  int32_t i = 0;
#if EDGEVIT_NEON
  for (; i + 8 <= count; i += 8) {
    int16x8_t t = vld1q_s16(top + i), b = vld1q_s16(bottom + i);
    int16x8_t upper = vshrn_high_n_s32(vshrn_n_s32(vmull_n_s16(vget_low_s16(t), w0), 16),
                                       vmull_high_n_s16(t, w0), 16);
    int16x8_t lower = vshrn_high_n_s32(vshrn_n_s32(vmull_n_s16(vget_low_s16(b), w1), 16),
                                       vmull_high_n_s16(b, w1), 16);
    vst1_u8(output + i, vqrshrun_n_s16(vaddq_s16(upper, lower), 2));
  }
#endif
  for (; i < count; i++) {
    int32_t sum = ((w0 * top[i]) >> 16) + ((w1 * bottom[i]) >> 16) + 2;
    output[i] = (uint8_t)(sum >> 2 > 255 ? 255 : sum >> 2);
  }
}

/* ITU-R BT.601 in full range (JFIF 1.02, p. 3) with factors of 14 bits:
 * R = Y + 1.402 V', G = Y - 0.344136 U' - 0.714136 V', B = Y + 1.772 U', where X' = X - 128.
 */
enum { EDGEVIT_RV = 22970, EDGEVIT_GU = -5638, EDGEVIT_GV = -11700, EDGEVIT_BU = 29032 };

static uint8_t edgevit_byte(int32_t value) {
  return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* Y, U and V become red, green and blue in their places. */
static void edgevit_yuv_to_rgb(uint8_t *y, uint8_t *u, uint8_t *v, int32_t count) {
  int32_t i = 0;
#if EDGEVIT_NEON
  for (; i + 8 <= count; i += 8) {
    int16x8_t luma = vreinterpretq_s16_u16(vmovl_u8(vld1_u8(y + i)));
    int16x8_t blue = vreinterpretq_s16_u16(vsubl_u8(vld1_u8(u + i), vdup_n_u8(128)));
    int16x8_t red = vreinterpretq_s16_u16(vsubl_u8(vld1_u8(v + i), vdup_n_u8(128)));
    int16x8_t r = vrshrn_high_n_s32(
        vrshrn_n_s32(vmull_n_s16(vget_low_s16(red), EDGEVIT_RV), 14),
        vmull_high_n_s16(red, EDGEVIT_RV), 14);
    int16x8_t b = vrshrn_high_n_s32(
        vrshrn_n_s32(vmull_n_s16(vget_low_s16(blue), EDGEVIT_BU), 14),
        vmull_high_n_s16(blue, EDGEVIT_BU), 14);
    int32x4_t low = vmlal_n_s16(vmull_n_s16(vget_low_s16(blue), EDGEVIT_GU), vget_low_s16(red),
                                EDGEVIT_GV);
    int32x4_t high = vmlal_high_n_s16(vmull_high_n_s16(blue, EDGEVIT_GU), red, EDGEVIT_GV);
    int16x8_t g = vrshrn_high_n_s32(vrshrn_n_s32(low, 14), high, 14);
    vst1_u8(y + i, vqmovun_s16(vaddq_s16(luma, r)));
    vst1_u8(u + i, vqmovun_s16(vaddq_s16(luma, g)));
    vst1_u8(v + i, vqmovun_s16(vaddq_s16(luma, b)));
  }
#endif
  for (; i < count; i++) {
    int32_t luma = y[i], blue = u[i] - 128, red = v[i] - 128, half = 1 << 13;
    y[i] = edgevit_byte(luma + ((EDGEVIT_RV * red + half) >> 14));
    u[i] = edgevit_byte(luma + ((EDGEVIT_GU * blue + EDGEVIT_GV * red + half) >> 14));
    v[i] = edgevit_byte(luma + ((EDGEVIT_BU * blue + half) >> 14));
  }
}

/* output[i * step] = table[bytes[i]]: an input's values are 256 a channel. */
static void edgevit_look_up_32(const uint8_t *bytes, const uint32_t *table, uint32_t *output,
                               int32_t step, int32_t count) {
  for (int32_t i = 0; i < count; i++) output[(ptrdiff_t)i * step] = table[bytes[i]];
}

static void edgevit_look_up_16(const uint8_t *bytes, const uint32_t *table, uint16_t *output,
                               int32_t step, int32_t count) {
  for (int32_t i = 0; i < count; i++) output[(ptrdiff_t)i * step] = (uint16_t)table[bytes[i]];
}

static void edgevit_look_up_8(const uint8_t *bytes, const uint32_t *table, uint8_t *output,
                              int32_t step, int32_t count) {
  for (int32_t i = 0; i < count; i++) output[(ptrdiff_t)i * step] = (uint8_t)table[bytes[i]];
}

#endif
