/* A network's input from a camera frame, in one pass over the frame.
 *
 * Each channel is resized where it stands: turning and mirroring are other steps through memory, and
 * the chroma of a YUV frame is resized from its own quarter size, then each pixel of the input is
 * converted once. Rows blended across columns are kept for the next row of the input, which mostly
 * reads one of them again.
 */
#include <math.h>
#include <string.h>

#include "arena.h"
#include "edgevit_core.h"
#include "input_kernels.h"

#define WEIGHT_ONE 2048 /* 11 bits, as OpenCV's */
#define NO_ROW (-1)

/* Where each output of one axis reads: along x an offset in bytes, along y a row of the plane. */
typedef struct {
  int32_t *first, *second;
  int16_t *w0, *w1;
} taps;

/* One plane as it stands upright: pixel (x, y) lies at base + x * dx + y * dy. */
typedef struct {
  ptrdiff_t base, dx, dy;
  int32_t width, height;
} view;

struct edgevit_plan {
  edgevit_input input;
  edgevit_frame like; /* the geometry that the plan was made for */
  int32_t shown_width, shown_height; /* of the resized picture, in the input */
  size_t output_bytes;
  view views[3];
  taps columns[3], rows[3];
  ptrdiff_t step[3]; /* bytes between the two pixels that a column blends */
  int16_t *blended[3][2];
  int32_t blended_row[3][2];
  uint8_t *line[3];
  uint32_t *tables[3]; /* 256 values of the input's type each */
  uint32_t zero;
};

edgevit_frame edgevit_interleaved(const uint8_t *data, size_t size, int32_t width, int32_t height,
                                  int32_t row_stride, int32_t pixel_stride) {
  edgevit_frame frame = {EDGEVIT_RGB, width, height, {{0}}};
  for (size_t i = 0; i < 3; i++) {
    edgevit_plane plane = {data, 0, row_stride, pixel_stride};
    if (data && size > i) {
      plane.data = data + i;
      plane.size = size - i;
    }
    frame.planes[i] = plane;
  }
  return frame;
}

static int32_t plane_side(const edgevit_frame *frame, int channel, int32_t side) {
  return frame->colors == EDGEVIT_YUV && channel > 0 ? (side + 1) / 2 : side;
}

static int32_t check_geometry(const edgevit_frame *frame) {
  if (frame->colors != EDGEVIT_RGB && frame->colors != EDGEVIT_YUV) return EDGEVIT_OPTION;
  if (frame->width < 1 || frame->width > EDGEVIT_LONGEST_FRAME || frame->height < 1 ||
      frame->height > EDGEVIT_LONGEST_FRAME)
    return EDGEVIT_SIZE;
  for (int i = 0; i < 3; i++) {
    const edgevit_plane *plane = &frame->planes[i];
    if (plane->row_stride < 1 || plane->pixel_stride < 1) return EDGEVIT_SIZE;
    int64_t last = (int64_t)(plane_side(frame, i, frame->height) - 1) * plane->row_stride +
                   (int64_t)(plane_side(frame, i, frame->width) - 1) * plane->pixel_stride;
    if (last >= INT32_MAX) return EDGEVIT_SIZE; /* offsets are 32 bits */
    if ((uint64_t)last >= plane->size) return EDGEVIT_SHORT;
  }
  return EDGEVIT_OK;
}

static int32_t type_bytes(int32_t type) {
  switch (type) {
    case EDGEVIT_FLOAT32: return 4;
    case EDGEVIT_FLOAT16: return 2;
    case EDGEVIT_UINT8: case EDGEVIT_INT8: return 1;
    default: return 0;
  }
}

static int positive(double value) { return isfinite(value) && value > 0; }

static int32_t check_input(const edgevit_input *input) {
  if (input->width < 1 || input->width > EDGEVIT_LONGEST_INPUT || input->height < 1 ||
      input->height > EDGEVIT_LONGEST_INPUT || input->resized_width < 1 ||
      input->resized_width > EDGEVIT_LONGEST_FRAME || input->resized_height < 1 ||
      input->resized_height > EDGEVIT_LONGEST_FRAME)
    return EDGEVIT_SIZE;
  if (input->left < 0 || input->left >= input->resized_width || input->top < 0 ||
      input->top >= input->resized_height)
    return EDGEVIT_SIZE;
  if (input->rotation != 0 && input->rotation != 90 && input->rotation != 180 &&
      input->rotation != 270)
    return EDGEVIT_OPTION;
  if (input->mirror != 0 && input->mirror != 1) return EDGEVIT_OPTION;
  if (input->layout != EDGEVIT_NCHW && input->layout != EDGEVIT_NHWC) return EDGEVIT_OPTION;
  if (!type_bytes(input->type)) return EDGEVIT_OPTION;
  for (int i = 0; i < 3; i++)
    if (!isfinite(input->mean[i]) || !positive(input->std[i])) return EDGEVIT_NUMBER;
  if (input->type == EDGEVIT_UINT8 || input->type == EDGEVIT_INT8) {
    int32_t least = input->type == EDGEVIT_INT8 ? -128 : 0;
    if (!positive(input->scale)) return EDGEVIT_NUMBER;
    if (input->zero_point < least || input->zero_point > least + 255) return EDGEVIT_SIZE;
  }
  return EDGEVIT_OK;
}

int32_t edgevit_input_bytes(const edgevit_input *input, size_t *bytes) {
  if (!input || !bytes) return EDGEVIT_NULL;
  int32_t status = check_input(input);
  if (status) return status;
  *bytes = (size_t)input->width * (size_t)input->height * 3 * (size_t)type_bytes(input->type);
  return EDGEVIT_OK;
}

static taps take_taps(edgevit_arena *arena, size_t count) {
  taps axis;
  axis.first = edgevit_take(arena, count, sizeof *axis.first);
  axis.second = edgevit_take(arena, count, sizeof *axis.second);
  axis.w0 = edgevit_take(arena, count, sizeof *axis.w0);
  axis.w1 = edgevit_take(arena, count, sizeof *axis.w1);
  return axis;
}

static int32_t shown(int32_t resized, int32_t cut, int32_t side) {
  return resized - cut < side ? resized - cut : side;
}

/* Lay out the plan and everything it points to; with an arena without memory only count. */
static edgevit_plan *lay_out(edgevit_arena *arena, const edgevit_input *input,
                             const edgevit_frame *frame) {
  edgevit_plan plan;
  memset(&plan, 0, sizeof plan);
  edgevit_plan *result = edgevit_take(arena, 1, sizeof plan);
  plan.input = *input;
  plan.like = *frame;
  plan.shown_width = shown(input->resized_width, input->left, input->width);
  plan.shown_height = shown(input->resized_height, input->top, input->height);
  size_t width = (size_t)plan.shown_width, height = (size_t)plan.shown_height;
  for (int i = 0; i < 3; i++) {
    int shared = i == 2 || (i == 1 && frame->colors == EDGEVIT_RGB);
    plan.columns[i] = take_taps(arena, width); /* offsets differ where strides do */
    if (shared) plan.rows[i] = plan.rows[i - 1];
    else plan.rows[i] = take_taps(arena, height);
    for (int k = 0; k < 2; k++)
      plan.blended[i][k] = edgevit_take(arena, width, sizeof *plan.blended[i][k]);
    plan.line[i] = edgevit_take(arena, width, 1);
    plan.tables[i] = edgevit_take(arena, 256, sizeof *plan.tables[i]);
  }
  if (result) *result = plan;
  return result;
}

int32_t edgevit_plan_memory(const edgevit_input *input, const edgevit_frame *frame, size_t *bytes) {
  if (!input || !frame || !bytes) return EDGEVIT_NULL;
  int32_t status = check_input(input);
  if (!status) status = check_geometry(frame);
  if (status) return status;
  edgevit_arena count = {NULL, 0};
  lay_out(&count, input, frame);
  *bytes = count.used;
  return EDGEVIT_OK;
}

/* How to step through a plane so that it stands upright. */
static view upright(const edgevit_frame *frame, int channel, int32_t rotation, int32_t mirror) {
  ptrdiff_t row = frame->planes[channel].row_stride, pixel = frame->planes[channel].pixel_stride;
  int32_t width = plane_side(frame, channel, frame->width);
  int32_t height = plane_side(frame, channel, frame->height);
  view turned = {0, pixel, row, width, height};
  switch (rotation) {
    case 90: turned = (view){(height - 1) * row, -row, pixel, height, width}; break;
    case 180:
      turned = (view){(height - 1) * row + (width - 1) * pixel, -pixel, -row, width, height};
      break;
    case 270: turned = (view){(width - 1) * pixel, row, -pixel, height, width}; break;
    default: break;
  }
  if (mirror) {
    turned.base += (turned.width - 1) * turned.dx;
    turned.dx = -turned.dx;
  }
  return turned;
}

/* OpenCV's source position of output i, and its weight of the second pixel. */
static float source(int32_t i, int32_t n_in, int32_t n_out, int32_t *first) {
  double scale = 1.0 / ((double)n_out / (double)n_in);
  float place = (float)(((double)i + 0.5) * scale - 0.5);
  *first = (int32_t)floorf(place);
  return place - (float)*first;
}

static int16_t weight(float share) { return (int16_t)rintf(share * (float)WEIGHT_ONE); }

static int32_t clamp(int32_t value, int32_t most) {
  return value < 0 ? 0 : value > most ? most : value;
}

/* Both pixels of a column are read at a lower and a higher address, whatever the direction. */
static void plan_columns(taps axis, const view *plane, int32_t resized, int32_t left, int32_t count,
                         ptrdiff_t *step) {
  int32_t last = plane->width - 1;
  *step = last == 0 ? 0 : plane->dx < 0 ? -plane->dx : plane->dx;
  for (int32_t i = 0; i < count; i++) {
    int32_t first;
    float share = source(left + i, plane->width, resized, &first);
    if (first < 0 || first >= last) share = 0; /* the border pixel alone */
    int16_t w0 = weight(1.0f - share), w1 = weight(share);
    first = clamp(first, last);
    if (first == last && last > 0) { /* there is no pixel after the last */
      first--;
      w1 = w0;
      w0 = 0;
    }
    ptrdiff_t offset = first * plane->dx;
    if (plane->dx < 0 && last > 0) {
      offset += plane->dx;
      int16_t other = w0;
      w0 = w1;
      w1 = other;
    }
    axis.first[i] = (int32_t)offset;
    axis.w0[i] = w0;
    axis.w1[i] = w1;
  }
}

/* Above and below the picture its border row is read twice, with both weights. */
static void plan_rows(taps axis, int32_t n_in, int32_t resized, int32_t top, int32_t count) {
  for (int32_t i = 0; i < count; i++) {
    int32_t first;
    float share = source(top + i, n_in, resized, &first);
    axis.first[i] = clamp(first, n_in - 1);
    axis.second[i] = clamp(first + 1, n_in - 1);
    axis.w0[i] = weight(1.0f - share);
    axis.w1[i] = weight(share);
  }
}

/* IEEE 754 binary16, ties to even. */
static uint32_t half_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  uint32_t sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude >= 0x47800000u) return sign | 0x7c00u; /* 65536 and more; never NaN here */
  if (magnitude < 0x38800000u) { /* below the least normal number: a multiple of 2^-24 */
    float scaled;
    memcpy(&scaled, &magnitude, sizeof scaled);
    return sign | (uint32_t)rintf(scaled * 16777216.0f);
  }
  uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
  return sign | (rounded - 0x38000000u) >> 13;
}

static uint32_t encoded(const edgevit_input *input, float value) {
  uint32_t bits;
  if (input->type == EDGEVIT_FLOAT16) return half_bits(value);
  if (input->type == EDGEVIT_FLOAT32) {
    memcpy(&bits, &value, sizeof bits);
    return bits;
  }
  double least = input->type == EDGEVIT_INT8 ? -128 : 0;
  double level = rint((double)value / input->scale) + input->zero_point;
  if (level < least) level = least;
  if (level > least + 255) level = least + 255;
  return (uint32_t)(int32_t)level;
}

int32_t edgevit_plan_input(const edgevit_input *input, const edgevit_frame *frame, void *memory,
                           size_t bytes, edgevit_plan **result) {
  size_t needed;
  int32_t status = edgevit_plan_memory(input, frame, &needed);
  if (status) return status;
  if (!memory || !result) return EDGEVIT_NULL;
  if (bytes < needed || !edgevit_aligned(memory)) return EDGEVIT_MEMORY;
  edgevit_arena arena = {memory, 0};
  edgevit_plan *plan = lay_out(&arena, input, frame);
  edgevit_input_bytes(input, &plan->output_bytes);
  for (int i = 0; i < 3; i++) {
    plan->like.planes[i].data = NULL;
    plan->views[i] = upright(frame, i, input->rotation, input->mirror);
    plan_columns(plan->columns[i], &plan->views[i], input->resized_width, input->left,
                 plan->shown_width, &plan->step[i]);
    plan_rows(plan->rows[i], plan->views[i].height, input->resized_height, input->top,
              plan->shown_height);
    for (int level = 0; level < 256; level++) {
      float value = (float)((level - input->mean[i]) / input->std[i]);
      plan->tables[i][level] = encoded(input, value);
    }
  }
  plan->zero = encoded(input, 0.0f);
  *result = plan;
  return EDGEVIT_OK;
}

static int32_t check_frame(const edgevit_plan *plan, const edgevit_frame *frame) {
  const edgevit_frame *like = &plan->like;
  if (frame->colors != like->colors || frame->width != like->width || frame->height != like->height)
    return EDGEVIT_FRAME;
  for (int i = 0; i < 3; i++) {
    if (!frame->planes[i].data) return EDGEVIT_NULL;
    if (frame->planes[i].row_stride != like->planes[i].row_stride ||
        frame->planes[i].pixel_stride != like->planes[i].pixel_stride)
      return EDGEVIT_FRAME;
  }
  return check_geometry(frame); /* each frame comes with the size of its own buffer */
}

/* A row of the plane blended across columns: kept from the last row of the input, or made. */
static const int16_t *blended(edgevit_plan *plan, const edgevit_frame *frame, int channel,
                              int32_t row, int32_t other) {
  int32_t *rows = plan->blended_row[channel];
  for (int k = 0; k < 2; k++)
    if (rows[k] == row) return plan->blended[channel][k];
  int k = rows[0] == other ? 1 : 0;
  const view *plane = &plan->views[channel];
  const taps *columns = &plan->columns[channel];
  edgevit_blend_columns(frame->planes[channel].data + plane->base + row * plane->dy, columns->first,
                        plan->step[channel], columns->w0, columns->w1, plan->blended[channel][k],
                        plan->shown_width);
  rows[k] = row;
  return plan->blended[channel][k];
}

/* Write count values of one channel, from pixel `at` on. */
static void write(const edgevit_plan *plan, int channel, size_t at, void *output, int32_t count) {
  const edgevit_input *input = &plan->input;
  int interleaved = input->layout == EDGEVIT_NHWC;
  size_t place = interleaved ? 3 * at + (size_t)channel
                             : (size_t)channel * (size_t)input->width * (size_t)input->height + at;
  int32_t step = interleaved ? 3 : 1;
  const uint8_t *line = plan->line[channel];
  const uint32_t *table = plan->tables[channel];
  switch (type_bytes(input->type)) {
    case 4: edgevit_look_up_32(line, table, (uint32_t *)output + place, step, count); break;
    case 2: edgevit_look_up_16(line, table, (uint16_t *)output + place, step, count); break;
    default: edgevit_look_up_8(line, table, (uint8_t *)output + place, step, count); break;
  }
}

/* Fill pixels from `at` on, of all channels, with the mean color. */
static void pad(const edgevit_plan *plan, size_t at, size_t count, void *output) {
  const edgevit_input *input = &plan->input;
  size_t pixels = (size_t)input->width * (size_t)input->height;
  int interleaved = input->layout == EDGEVIT_NHWC;
  for (size_t part = 0; part < (interleaved ? 1u : 3u); part++) {
    size_t place = interleaved ? 3 * at : part * pixels + at;
    size_t values = interleaved ? 3 * count : count;
    size_t each = (size_t)type_bytes(input->type);
    /* A float's zero is zero bytes, and an integer has one byte. */
    memset((uint8_t *)output + place * each, each == 1 ? (uint8_t)plan->zero : 0, values * each);
  }
}

int32_t edgevit_fill_input(edgevit_plan *plan, const edgevit_frame *frame, void *output,
                           size_t bytes) {
  if (!plan || !frame || !output) return EDGEVIT_NULL;
  int32_t status = check_frame(plan, frame);
  if (status) return status;
  if (bytes != plan->output_bytes || (uintptr_t)output % (size_t)type_bytes(plan->input.type))
    return EDGEVIT_OUTPUT;
  size_t width = (size_t)plan->input.width, shown_width = (size_t)plan->shown_width;
  for (int i = 0; i < 3; i++) plan->blended_row[i][0] = plan->blended_row[i][1] = NO_ROW;
  for (int32_t y = 0; y < plan->shown_height; y++) {
    for (int i = 0; i < 3; i++) {
      const taps *rows = &plan->rows[i];
      const int16_t *top = blended(plan, frame, i, rows->first[y], rows->second[y]);
      const int16_t *bottom = blended(plan, frame, i, rows->second[y], rows->first[y]);
      edgevit_blend_rows(top, bottom, rows->w0[y], rows->w1[y], plan->line[i], plan->shown_width);
    }
    if (frame->colors == EDGEVIT_YUV)
      edgevit_yuv_to_rgb(plan->line[0], plan->line[1], plan->line[2], plan->shown_width);
    size_t at = (size_t)y * width;
    for (int i = 0; i < 3; i++) write(plan, i, at, output, plan->shown_width);
    if (shown_width < width) pad(plan, at + shown_width, width - shown_width, output);
  }
  size_t filled = (size_t)plan->shown_height * width;
  if (plan->shown_height < plan->input.height)
    pad(plan, filled, (size_t)plan->input.height * width - filled, output);
  return EDGEVIT_OK;
}
