/* The inner loops of the exact mask. The scalar loop of a function is its definition.
 *
 * Compiled with -ffp-contract=off: a fused multiply-add rounds once where the definition rounds
 * twice, and would move labels.
 */
#ifndef EDGEVIT_MASK_KERNELS_H
#define EDGEVIT_MASK_KERNELS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "simd.h"

enum { EDGEVIT_TILE = 8 }; /* output pixels computed at once */

/* Of one pixel: its first-of-equals argmax, its value, and the largest value of the others. */
typedef struct {
  float *best, *second;
  uint16_t *winner;
} edgevit_tops;

static uint32_t edgevit_magnitude(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits & 0x7fffffffu; /* ordered as the magnitudes are; NaN above infinity */
}

static void edgevit_top_of(const float *values, int32_t from, int32_t classes, ptrdiff_t step,
                           float *best, float *second, uint32_t *winner, uint32_t *magnitude) {
  for (int32_t c = from; c < classes; c++) {
    float value = values[c * step];
    uint32_t bits = edgevit_magnitude(value);
    if (bits > *magnitude) *magnitude = bits;
    if (value > *best) {
      *second = *best;
      *best = value;
      *winner = (uint32_t)c;
    } else if (value > *second) {
      *second = value;
    }
  }
}

/* The tops of count pixels whose classes are `step` floats apart, and the largest magnitude. */
static uint32_t edgevit_tops_planar(const float *logits, int32_t classes, ptrdiff_t step,
                                    size_t count, edgevit_tops tops) {
  uint32_t magnitude = 0;
  size_t i = 0;
#if EDGEVIT_NEON
  uint32x4_t largest = vdupq_n_u32(0);
  for (; i + 16 <= count; i += 16) {
    float32x4_t best[4], second[4];
    uint32x4_t winner[4];
    for (int k = 0; k < 4; k++) {
      best[k] = vld1q_f32(logits + i + 4 * k);
      second[k] = vdupq_n_f32(-__builtin_inff());
      winner[k] = vdupq_n_u32(0);
      largest = vmaxq_u32(largest, vreinterpretq_u32_f32(vabsq_f32(best[k])));
    }
    for (int32_t c = 1; c < classes; c++) {
      const float *values = logits + i + c * step;
      uint32x4_t name = vdupq_n_u32((uint32_t)c);
      for (int k = 0; k < 4; k++) {
        float32x4_t value = vld1q_f32(values + 4 * k);
        uint32x4_t wins = vcgtq_f32(value, best[k]);
        largest = vmaxq_u32(largest, vreinterpretq_u32_f32(vabsq_f32(value)));
        second[k] = vmaxq_f32(second[k], vminq_f32(value, best[k]));
        best[k] = vmaxq_f32(best[k], value);
        winner[k] = vbslq_u32(wins, name, winner[k]);
      }
    }
    for (int k = 0; k < 4; k++) {
      vst1q_f32(tops.best + i + 4 * k, best[k]);
      vst1q_f32(tops.second + i + 4 * k, second[k]);
      vst1_u16(tops.winner + i + 4 * k, vmovn_u32(winner[k]));
    }
  }
  magnitude = vmaxvq_u32(largest);
#endif
  for (; i < count; i++) {
    const float *values = logits + i;
    float best = values[0], second = -__builtin_inff();
    uint32_t winner = 0, bits = edgevit_magnitude(best);
    if (bits > magnitude) magnitude = bits;
    edgevit_top_of(values, 1, classes, step, &best, &second, &winner, &magnitude);
    tops.best[i] = best;
    tops.second[i] = second;
    tops.winner[i] = (uint16_t)winner;
  }
  return magnitude;
}

/* The same where the classes of a pixel lie side by side. */
static uint32_t edgevit_tops_interleaved(const float *logits, int32_t classes, size_t count,
                                         edgevit_tops tops) {
  uint32_t magnitude = 0;
  for (size_t i = 0; i < count; i++) {
    const float *values = logits + i * (size_t)classes;
    float best = values[0], second = -__builtin_inff();
    uint32_t winner = 0, bits = edgevit_magnitude(best);
    int32_t c = 1;
    if (bits > magnitude) magnitude = bits;
#if EDGEVIT_NEON
    if (classes >= 8) {
      float32x4_t top = vld1q_f32(values), runner = vdupq_n_f32(-__builtin_inff());
      uint32x4_t name = {0, 1, 2, 3}, who = name;
      uint32x4_t largest = vreinterpretq_u32_f32(vabsq_f32(top));
      for (c = 4; c + 4 <= classes; c += 4) {
        float32x4_t value = vld1q_f32(values + c);
        name = vaddq_u32(name, vdupq_n_u32(4));
        uint32x4_t wins = vcgtq_f32(value, top);
        largest = vmaxq_u32(largest, vreinterpretq_u32_f32(vabsq_f32(value)));
        runner = vmaxq_f32(runner, vminq_f32(value, top));
        top = vmaxq_f32(top, value);
        who = vbslq_u32(wins, name, who);
      }
      float lane_best[4], lane_second[4];
      uint32_t lane_who[4];
      vst1q_f32(lane_best, top);
      vst1q_f32(lane_second, runner);
      vst1q_u32(lane_who, who);
      best = lane_best[0];
      second = lane_second[0];
      winner = lane_who[0];
      for (int k = 1; k < 4; k++) {
        float loser = lane_best[k];
        if (loser > best || (loser == best && lane_who[k] < winner)) {
          loser = best;
          best = lane_best[k];
          winner = lane_who[k];
        }
        if (loser > second) second = loser;
        if (lane_second[k] > second) second = lane_second[k];
      }
      bits = vmaxvq_u32(largest);
      if (bits > magnitude) magnitude = bits;
    }
#endif
    edgevit_top_of(values, c, classes, 1, &best, &second, &winner, &magnitude);
    tops.best[i] = best;
    tops.second[i] = second;
    tops.winner[i] = (uint16_t)winner;
  }
  return magnitude;
}

/* The classes that reach the bar at one of four corners or more, in order; returns their number. */
static int32_t edgevit_candidates(const float *const corner[4], const float bar[4], int32_t classes,
                                  uint32_t *candidates) {
  int32_t found = 0, c = 0;
#if EDGEVIT_NEON
  float32x4_t bars[4];
  for (int k = 0; k < 4; k++) bars[k] = vdupq_n_f32(bar[k]);
  for (; c + 4 <= classes; c += 4) {
    uint32x4_t reach = vcgeq_f32(vld1q_f32(corner[0] + c), bars[0]);
    for (int k = 1; k < 4; k++)
      reach = vorrq_u32(reach, vcgeq_f32(vld1q_f32(corner[k] + c), bars[k]));
    /* 16 bits a class, each all ones or none */
    uint64_t bits = vget_lane_u64(vreinterpret_u64_u16(vmovn_u32(reach)), 0);
    for (; bits; bits &= ~(UINT64_C(0xffff) << (__builtin_ctzll(bits) & ~15)))
      candidates[found++] = (uint32_t)(c + __builtin_ctzll(bits) / 16);
  }
#endif
  for (; c < classes; c++)
    if (corner[0][c] >= bar[0] || corner[1][c] >= bar[1] || corner[2][c] >= bar[2] ||
        corner[3][c] >= bar[3])
      candidates[found++] = (uint32_t)c;
  return found;
}

/* output[x] = left * w0[x] + right * w1[x], for EDGEVIT_TILE x */
static void edgevit_across(float left, float right, const float *w0, const float *w1,
                           float *output) {
#if EDGEVIT_NEON
  for (int x = 0; x < EDGEVIT_TILE; x += 4)
    vst1q_f32(output + x, vaddq_f32(vmulq_n_f32(vld1q_f32(w0 + x), left),
                                    vmulq_n_f32(vld1q_f32(w1 + x), right)));
#else
  for (int x = 0; x < EDGEVIT_TILE; x++) output[x] = left * w0[x] + right * w1[x];
#endif
}

/* labels[x] = the first candidate j with the largest top[j][x] * w0 + bottom[j][x] * w1 */
static void edgevit_tournament(const float *top, const float *bottom, float w0, float w1,
                               const uint32_t *candidates, int32_t count, uint32_t *labels) {
#if EDGEVIT_NEON
  float32x4_t best[2];
  uint32x4_t label[2];
  for (int k = 0; k < 2; k++) {
    best[k] = vaddq_f32(vmulq_n_f32(vld1q_f32(top + 4 * k), w0),
                        vmulq_n_f32(vld1q_f32(bottom + 4 * k), w1));
    label[k] = vdupq_n_u32(candidates[0]);
  }
  for (int32_t j = 1; j < count; j++) {
    top += EDGEVIT_TILE;
    bottom += EDGEVIT_TILE;
    uint32x4_t name = vld1q_dup_u32(candidates + j);
    for (int k = 0; k < 2; k++) {
      float32x4_t value = vaddq_f32(vmulq_n_f32(vld1q_f32(top + 4 * k), w0),
                                    vmulq_n_f32(vld1q_f32(bottom + 4 * k), w1));
      uint32x4_t wins = vcgtq_f32(value, best[k]);
      best[k] = vmaxq_f32(best[k], value);
      label[k] = vbslq_u32(wins, name, label[k]);
    }
  }
  vst1q_u32(labels, label[0]);
  vst1q_u32(labels + 4, label[1]);
#else
  float best[EDGEVIT_TILE];
  for (int x = 0; x < EDGEVIT_TILE; x++) {
    best[x] = top[x] * w0 + bottom[x] * w1;
    labels[x] = candidates[0];
  }
  for (int32_t j = 1; j < count; j++) {
    top += EDGEVIT_TILE;
    bottom += EDGEVIT_TILE;
    for (int x = 0; x < EDGEVIT_TILE; x++) {
      float value = top[x] * w0 + bottom[x] * w1;
      labels[x] = value > best[x] ? candidates[j] : labels[x];
      best[x] = value > best[x] ? value : best[x];
    }
  }
#endif
}

#endif
