/* The exact full-resolution mask of coarse logits, without upsampling them.
 *
 * Between four neighboring logits every class is a weighted mean of its four corner values, and
 * rounding keeps the order of what is monotone. So a class that lies below an average of others at
 * all four corners, by a margin above what rounding can move, is never the largest in that cell;
 * and a cell whose corners share one winner, which beats all others by the margin, is that class
 * throughout. Only the classes that are left are interpolated, in the cells that are left. The
 * proof is in edgevit/tasks/pixels/mask.py, the same in numpy.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "arena.h"
#include "edgevit_core.h"
#include "mask_kernels.h"

#define MARGIN (1.0f / (1 << 18)) /* of the largest magnitude among the classes compared */
#define TINY (16 * FLT_MIN)       /* covers products that underflow, flushed to zero or not */
#define SAFE_MAGNITUDE 1e37f      /* beyond it sums could overflow: every class is interpolated */
#define NO_ROW (-1)

/* Where each output of one axis reads: w0 * x[first] + w1 * x[second]. */
typedef struct {
  int32_t *first, *second;
  float *w0, *w1;
} taps;

typedef struct {
  const edgevit_logits *logits;
  int32_t width, height, label_bytes, every_class;
  taps columns, rows;
  edgevit_tops tops;  /* [height * width] of the logits */
  uint8_t *firm;      /* the winner beats all others by the margin */
  float *values[2];   /* planar logits: pixels of two rows with their classes side by side */
  uint8_t *copied[2]; /* which of those pixels are there */
  int32_t copied_row[2];
  uint32_t *candidates;
  float *top, *bottom; /* [classes, EDGEVIT_TILE] */
} work;

static int32_t check(const edgevit_logits *logits, int32_t width, int32_t height) {
  if (!logits) return EDGEVIT_NULL;
  if (logits->layout != EDGEVIT_NCHW && logits->layout != EDGEVIT_NHWC) return EDGEVIT_OPTION;
  if (logits->classes < 1 || logits->classes > EDGEVIT_MOST_CLASSES || logits->width < 1 ||
      logits->width > EDGEVIT_LONGEST_INPUT || logits->height < 1 ||
      logits->height > EDGEVIT_LONGEST_INPUT || width < 1 || width > EDGEVIT_LONGEST_MASK ||
      height < 1 || height > EDGEVIT_LONGEST_MASK)
    return EDGEVIT_SIZE;
  uint64_t values = (uint64_t)logits->classes * (uint64_t)logits->width * (uint64_t)logits->height;
  if (values > INT32_MAX) return EDGEVIT_SIZE;
  return values <= logits->count ? EDGEVIT_OK : EDGEVIT_SHORT;
}

static taps take_taps(edgevit_arena *arena, int32_t count) {
  size_t padded = (size_t)count + EDGEVIT_TILE; /* tiles read weights beyond the last output */
  taps axis;
  axis.first = edgevit_take(arena, padded, sizeof *axis.first);
  axis.second = edgevit_take(arena, padded, sizeof *axis.second);
  axis.w0 = edgevit_take(arena, padded, sizeof *axis.w0);
  axis.w1 = edgevit_take(arena, padded, sizeof *axis.w1);
  return axis;
}

static work lay_out(edgevit_arena *arena, const edgevit_logits *logits, int32_t width,
                    int32_t height) {
  work all;
  memset(&all, 0, sizeof all);
  size_t classes = (size_t)logits->classes, line = (size_t)logits->width;
  size_t pixels = line * (size_t)logits->height;
  all.logits = logits;
  all.width = width;
  all.height = height;
  all.label_bytes = classes <= 256 ? 1 : 2;
  all.columns = take_taps(arena, width);
  all.rows = take_taps(arena, height);
  all.tops.best = edgevit_take(arena, pixels, sizeof(float));
  all.tops.second = edgevit_take(arena, pixels, sizeof(float));
  all.tops.winner = edgevit_take(arena, pixels, sizeof(uint16_t));
  all.firm = edgevit_take(arena, pixels, 1);
  for (int k = 0; k < 2 && logits->layout == EDGEVIT_NCHW; k++) {
    all.values[k] = edgevit_take(arena, line * classes, sizeof(float));
    all.copied[k] = edgevit_take(arena, line, 1);
  }
  all.copied_row[0] = all.copied_row[1] = NO_ROW;
  all.candidates = edgevit_take(arena, classes, sizeof(uint32_t));
  all.top = edgevit_take(arena, classes * EDGEVIT_TILE, sizeof(float));
  all.bottom = edgevit_take(arena, classes * EDGEVIT_TILE, sizeof(float));
  return all;
}

int32_t edgevit_mask_memory(const edgevit_logits *logits, int32_t width, int32_t height,
                            size_t *memory_bytes, size_t *mask_bytes) {
  int32_t status = check(logits, width, height);
  if (status) return status;
  edgevit_arena count = {NULL, 0};
  work all = lay_out(&count, logits, width, height);
  if (memory_bytes) *memory_bytes = count.used;
  if (mask_bytes) *mask_bytes = (size_t)width * (size_t)height * (size_t)all.label_bytes;
  return EDGEVIT_OK;
}

/* torch's half-pixel taps in its float32 arithmetic (ATen/native/UpSample.h,
 * area_pixel_compute_source_index with align_corners=False).
 */
static void fill_taps(taps axis, int32_t n_in, int32_t n_out) {
  float scale = (float)n_in / (float)n_out;
  for (int32_t i = 0; i < n_out; i++) {
    float place = scale * ((float)i + 0.5f);
    place -= 0.5f;
    if (place < 0) place = 0;
    int32_t first = (int32_t)floorf(place);
    if (first > n_in - 1) first = n_in - 1;
    float share = place - (float)first;
    share = share < 0 ? 0 : share > 1 ? 1 : share;
    axis.first[i] = first;
    axis.second[i] = first + 1 < n_in ? first + 1 : n_in - 1;
    axis.w0[i] = 1.0f - share;
    axis.w1[i] = share;
  }
  for (int32_t i = n_out; i < n_out + EDGEVIT_TILE; i++) axis.w0[i] = axis.w1[i] = 0;
}

/* Write labels[0..count) from pixel `at` on. */
static void put(const work *all, void *mask, size_t at, const uint32_t *labels, int32_t count) {
  if (all->label_bytes == 1) {
    uint8_t *out = (uint8_t *)mask + at;
#if EDGEVIT_NEON
    if (count == EDGEVIT_TILE) {
      uint16x8_t narrow = vmovn_high_u32(vmovn_u32(vld1q_u32(labels)), vld1q_u32(labels + 4));
      vst1_u8(out, vmovn_u16(narrow));
      return;
    }
#endif
    for (int32_t x = 0; x < count; x++) out[x] = (uint8_t)labels[x];
  } else {
    uint16_t *out = (uint16_t *)mask + at;
    for (int32_t x = 0; x < count; x++) out[x] = (uint16_t)labels[x];
  }
}

static void put_run(const work *all, void *mask, size_t at, uint32_t label, int32_t count) {
  if (all->label_bytes == 1) {
    memset((uint8_t *)mask + at, (int)label, (size_t)count);
  } else {
    uint16_t *out = (uint16_t *)mask + at;
    for (int32_t x = 0; x < count; x++) out[x] = (uint16_t)label;
  }
}

/* The definition, for values that are not finite or too large: every class at every pixel. */
static void defined_mask(const work *all, void *mask) {
  const edgevit_logits *logits = all->logits;
  int planar = logits->layout == EDGEVIT_NCHW;
  ptrdiff_t next_class = planar ? (ptrdiff_t)logits->width * logits->height : 1;
  ptrdiff_t next_pixel = planar ? 1 : logits->classes;
  for (int32_t y = 0; y < all->height; y++) {
    const float *top = logits->data + all->rows.first[y] * logits->width * next_pixel;
    const float *bottom = logits->data + all->rows.second[y] * logits->width * next_pixel;
    float v0 = all->rows.w0[y], v1 = all->rows.w1[y];
    for (int32_t x = 0; x < all->width; x++) {
      ptrdiff_t left = all->columns.first[x] * next_pixel;
      ptrdiff_t right = all->columns.second[x] * next_pixel;
      float u0 = all->columns.w0[x], u1 = all->columns.w1[x], best = 0;
      uint32_t label = 0;
      for (int32_t c = 0; c < logits->classes; c++) {
        ptrdiff_t at = c * next_class;
        float upper = top[at + left] * u0 + top[at + right] * u1;
        float lower = bottom[at + left] * u0 + bottom[at + right] * u1;
        float value = upper * v0 + lower * v1;
        /* numpy's argmax: the first NaN is the largest */
        if (c == 0 || value > best || (isnan(value) && !isnan(best))) {
          best = value;
          label = (uint32_t)c;
        }
      }
      put(all, mask, (size_t)y * (size_t)all->width + (size_t)x, &label, 1);
    }
  }
}

/* The values of one pixel with its classes side by side. */
static const float *pixel(work *all, int slot, int32_t row, int32_t column) {
  const edgevit_logits *logits = all->logits;
  size_t classes = (size_t)logits->classes, width = (size_t)logits->width;
  size_t at = (size_t)row * width + (size_t)column;
  if (logits->layout == EDGEVIT_NHWC) return logits->data + at * classes;
  float *values = all->values[slot] + (size_t)column * classes;
  if (!all->copied[slot][column]) {
    size_t step = width * (size_t)logits->height;
    const float *source = logits->data + at;
    for (size_t c = 0; c < classes; c++) values[c] = source[c * step];
    all->copied[slot][column] = 1;
  }
  return values;
}

/* Which of the two kept rows holds this row of the logits; `other` is not to be given up. */
static int slot_of(work *all, int32_t row, int32_t other) {
  for (int k = 0; k < 2; k++)
    if (all->copied_row[k] == row) return k;
  int k = all->copied_row[0] == other ? 1 : 0;
  all->copied_row[k] = row;
  if (all->copied[k]) memset(all->copied[k], 0, (size_t)all->logits->width);
  return k;
}

/* The labels of outputs [y0, y1) x [x0, x1), which lie in one cell. */
static void fill_cell(work *all, void *mask, int32_t y0, int32_t y1, int32_t x0, int32_t x1) {
  const edgevit_logits *logits = all->logits;
  int32_t row[2] = {all->rows.first[y0], all->rows.second[y0]};
  int32_t column[2] = {all->columns.first[x0], all->columns.second[x0]};
  const float *corner[4];
  int32_t champion[4];
  for (int k = 0; k < 4; k++) {
    int32_t y = row[k / 2], x = column[k % 2];
    corner[k] = pixel(all, slot_of(all, y, row[1 - k / 2]), y, x);
    champion[k] = all->tops.winner[(size_t)y * (size_t)logits->width + (size_t)x];
  }
  float magnitude = 0, bar[4];
  for (int k = 0; k < 4; k++) {
    float sum = 0;
    for (int j = 0; j < 4; j++) {
      float value = corner[k][champion[j]];
      sum += value;
      if (fabsf(value) > magnitude) magnitude = fabsf(value);
    }
    bar[k] = sum / 4;
  }
  for (int k = 0; k < 4; k++) bar[k] -= MARGIN * magnitude + TINY;
  int32_t count = logits->classes;
  if (all->every_class)
    for (int32_t c = 0; c < count; c++) all->candidates[c] = (uint32_t)c;
  else count = edgevit_candidates(corner, bar, logits->classes, all->candidates);
  for (int32_t x = x0; x < x1; x += EDGEVIT_TILE) {
    int32_t length = x1 - x < EDGEVIT_TILE ? x1 - x : EDGEVIT_TILE;
    const float *u0 = all->columns.w0 + x, *u1 = all->columns.w1 + x;
    for (int32_t j = 0; j < count; j++) {
      uint32_t c = all->candidates[j];
      edgevit_across(corner[0][c], corner[1][c], u0, u1, all->top + j * EDGEVIT_TILE);
      edgevit_across(corner[2][c], corner[3][c], u0, u1, all->bottom + j * EDGEVIT_TILE);
    }
    for (int32_t y = y0; y < y1; y++) {
      uint32_t labels[EDGEVIT_TILE];
      edgevit_tournament(all->top, all->bottom, all->rows.w0[y], all->rows.w1[y], all->candidates,
                         count, labels);
      put(all, mask, (size_t)y * (size_t)all->width + (size_t)x, labels, length);
    }
  }
}

/* The end of the run of outputs that read the same pair of inputs as output `start`. */
static int32_t run_end(const taps *axis, int32_t start, int32_t count) {
  int32_t end = start + 1;
  while (end < count && axis->first[end] == axis->first[start]) end++;
  return end;
}

static int32_t make_mask(const edgevit_logits *logits, int32_t width, int32_t height, void *mask,
                         size_t mask_bytes, void *memory, size_t memory_bytes, int every_class) {
  size_t needed, size;
  int32_t status = edgevit_mask_memory(logits, width, height, &needed, &size);
  if (status) return status;
  if (!logits->data || !mask || !memory) return EDGEVIT_NULL;
  if (memory_bytes < needed || !edgevit_aligned(memory)) return EDGEVIT_MEMORY;
  edgevit_arena arena = {memory, 0};
  work all = lay_out(&arena, logits, width, height);
  if (mask_bytes != size || (uintptr_t)mask % (size_t)all.label_bytes) return EDGEVIT_OUTPUT;
  all.every_class = every_class;
  fill_taps(all.columns, logits->width, width);
  fill_taps(all.rows, logits->height, height);

  size_t pixels = (size_t)logits->width * (size_t)logits->height;
  uint32_t magnitude =
      logits->layout == EDGEVIT_NCHW
          ? edgevit_tops_planar(logits->data, logits->classes, (ptrdiff_t)pixels, pixels, all.tops)
          : edgevit_tops_interleaved(logits->data, logits->classes, pixels, all.tops);
  if (magnitude >= edgevit_magnitude(SAFE_MAGNITUDE)) {
    defined_mask(&all, mask);
    return EDGEVIT_OK;
  }
  for (size_t i = 0; i < pixels; i++)
    all.firm[i] = all.tops.second[i] < all.tops.best[i] - (MARGIN * fabsf(all.tops.best[i]) + TINY);

  for (int32_t y0 = 0, y1; y0 < height; y0 = y1) {
    y1 = run_end(&all.rows, y0, height);
    size_t upper = (size_t)all.rows.first[y0] * (size_t)logits->width;
    size_t lower = (size_t)all.rows.second[y0] * (size_t)logits->width;
    for (int32_t x0 = 0, x1; x0 < width; x0 = x1) {
      x1 = run_end(&all.columns, x0, width);
      size_t left = (size_t)all.columns.first[x0], right = (size_t)all.columns.second[x0];
      const uint16_t *winner = all.tops.winner;
      const uint8_t *firm = all.firm;
      uint16_t label = winner[upper + left];
      if (!every_class && label == winner[upper + right] && label == winner[lower + left] &&
          label == winner[lower + right] && firm[upper + left] && firm[upper + right] &&
          firm[lower + left] && firm[lower + right]) {
        for (int32_t y = y0; y < y1; y++)
          put_run(&all, mask, (size_t)y * (size_t)width + (size_t)x0, label, x1 - x0);
      } else {
        fill_cell(&all, mask, y0, y1, x0, x1);
      }
    }
  }
  return EDGEVIT_OK;
}

int32_t edgevit_mask(const edgevit_logits *logits, int32_t width, int32_t height, void *mask,
                     size_t mask_bytes, void *memory, size_t memory_bytes) {
  return make_mask(logits, width, height, mask, mask_bytes, memory, memory_bytes, 0);
}

int32_t edgevit_plain_mask(const edgevit_logits *logits, int32_t width, int32_t height, void *mask,
                           size_t mask_bytes, void *memory, size_t memory_bytes) {
  return make_mask(logits, width, height, mask, mask_bytes, memory, memory_bytes, 1);
}
