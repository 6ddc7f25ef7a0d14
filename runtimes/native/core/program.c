/* The core as a program, for instruction sets and sanitizers that no Python here can load:
 *
 *   edgevit-core version
 *   edgevit-core input   in=FRAME out=INPUT  [name=value ...]
 *   edgevit-core mask    in=LOGITS out=MASK  classes= height= width= layout=nchw|nhwc
 *                        mask_width= mask_height= [repeat=]; plain-mask: the plain way
 *   edgevit-core overlay in=MASK out=RGBA palette=FILE [picture=FILE] width= height= [repeat=]
 *   edgevit-core latency in=INT64S
 *
 * Files are raw values in the order of the machine. `repeat` runs the same call again, between two
 * marks that a counting emulator sees (system calls that no kernel has).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <unistd.h>
extern long syscall(long number, ...);
#endif

#include "edgevit_core.h"

#define MARK 0x5eed

static int argument_count;
static char **arguments;

static void mark(long which) {
#if defined(__linux__)
  syscall(MARK, which);
#else
  (void)which;
#endif
}

static int fail(const char *what, const char *which) {
  fprintf(stderr, "edgevit-core: %s %s\n", what, which);
  exit(2);
}

static const char *text(const char *name, const char *otherwise) {
  size_t length = strlen(name);
  for (int i = 2; i < argument_count; i++)
    if (!strncmp(arguments[i], name, length) && arguments[i][length] == '=')
      return arguments[i] + length + 1;
  if (!otherwise) fail("misses the argument", name);
  return otherwise;
}

static double number(const char *name, const char *otherwise) {
  const char *value = text(name, otherwise);
  char *end;
  double result = strtod(value, &end);
  if (end == value || *end) fail("takes a number for", name);
  return result;
}

static int32_t whole(const char *name, const char *otherwise) {
  double value = number(name, otherwise);
  if (!(value >= -2147483648.0 && value <= 2147483647.0)) fail("takes a 32-bit number for", name);
  return (int32_t)value;
}

/* name=a,b,c */
static void numbers(const char *name, const char *otherwise, int count, double *values) {
  const char *rest = text(name, otherwise);
  for (int i = 0; i < count; i++) {
    char *end;
    values[i] = strtod(rest, &end);
    if (end == rest || *end != (i + 1 < count ? ',' : '\0')) fail("takes numbers for", name);
    rest = end + 1;
  }
}

static int32_t word(const char *name, const char *const *words, int32_t count) {
  const char *value = text(name, words[0]);
  for (int32_t i = 0; i < count; i++)
    if (!strcmp(value, words[i])) return i;
  fail("does not know the value of", name);
  return 0;
}

/* A buffer of exactly this size, so that a sanitizer sees one byte beyond it. */
static void *buffer(size_t bytes) {
  void *memory = NULL;
  if (posix_memalign(&memory, 64, bytes ? bytes : 1)) fail("has no memory for", "its data");
  return memory;
}

static uint8_t *read_file(const char *name, size_t *bytes) {
  const char *path = text(name, NULL);
  FILE *file = fopen(path, "rb");
  if (!file || fseek(file, 0, SEEK_END)) fail("cannot open", path);
  long size = ftell(file);
  if (size < 0) fail("cannot read", path);
  rewind(file);
  uint8_t *data = buffer((size_t)size);
  if (fread(data, 1, (size_t)size, file) != (size_t)size) fail("cannot read", path);
  fclose(file);
  *bytes = (size_t)size;
  return data;
}

static void write_file(const void *data, size_t bytes) {
  const char *path = text("out", NULL);
  FILE *file = fopen(path, "wb");
  if (!file || fwrite(data, 1, bytes, file) != bytes || fclose(file)) fail("cannot write", path);
}

static void require(int32_t status) {
  if (status == EDGEVIT_OK) return;
  fprintf(stderr, "edgevit-core: status %d: %s\n", (int)status, edgevit_status_text(status));
  exit(1);
}

static const char *const LAYOUTS[] = {"nchw", "nhwc"};

static void make_input(void) {
  static const char *const COLORS[] = {"rgb", "yuv"};
  static const char *const TYPES[] = {"float32", "float16", "uint8", "int8"};
  static const char *const PLANES[] = {"plane0", "plane1", "plane2"};
  size_t size, bytes, memory_bytes;
  uint8_t *data = read_file("in", &size);
  edgevit_frame frame = {word("colors", COLORS, 2), whole("frame_width", NULL),
                         whole("frame_height", NULL), {{0}}};
  for (int i = 0; i < 3; i++) {
    double plane[4]; /* offset, bytes, row stride, pixel stride */
    numbers(PLANES[i], NULL, 4, plane);
    if (plane[0] < 0 || plane[1] < 0 || plane[0] + plane[1] > (double)size)
      fail("has no such plane in its frame:", PLANES[i]);
    frame.planes[i].data = data + (size_t)plane[0];
    frame.planes[i].size = (size_t)plane[1];
    frame.planes[i].row_stride = (int32_t)plane[2];
    frame.planes[i].pixel_stride = (int32_t)plane[3];
  }
  edgevit_input input = {0};
  input.width = whole("width", NULL);
  input.height = whole("height", NULL);
  input.resized_width = whole("resized_width", text("width", NULL));
  input.resized_height = whole("resized_height", text("height", NULL));
  input.left = whole("left", "0");
  input.top = whole("top", "0");
  input.rotation = whole("rotation", "0");
  input.mirror = whole("mirror", "0");
  input.layout = word("layout", LAYOUTS, 2);
  input.type = word("type", TYPES, 4);
  numbers("mean", "0,0,0", 3, input.mean);
  numbers("std", "1,1,1", 3, input.std);
  input.scale = number("scale", "1");
  input.zero_point = whole("zero_point", "0");
  require(edgevit_input_bytes(&input, &bytes));
  require(edgevit_plan_memory(&input, &frame, &memory_bytes));
  void *memory = buffer(memory_bytes), *output = buffer(bytes);
  edgevit_plan *plan;
  require(edgevit_plan_input(&input, &frame, memory, memory_bytes, &plan));
  for (int32_t left = whole("repeat", "1"); left > 0; left--) {
    if (left == 1) mark(1);
    require(edgevit_fill_input(plan, &frame, output, bytes));
  }
  mark(2);
  write_file(output, bytes);
  free(memory);
  free(output);
  free(data);
}

static void make_mask(int plain) {
  size_t size, memory_bytes, bytes;
  uint8_t *data = read_file("in", &size);
  edgevit_logits logits = {(const float *)(const void *)data, size / sizeof(float),
                           whole("classes", NULL), whole("height", NULL), whole("width", NULL),
                           word("layout", LAYOUTS, 2)};
  int32_t width = whole("mask_width", NULL), height = whole("mask_height", NULL);
  require(edgevit_mask_memory(&logits, width, height, &memory_bytes, &bytes));
  void *memory = buffer(memory_bytes), *mask = buffer(bytes);
  for (int32_t left = whole("repeat", "1"); left > 0; left--) {
    if (left == 1) mark(1);
    require((plain ? edgevit_plain_mask : edgevit_mask)(&logits, width, height, mask, bytes, memory,
                                                        memory_bytes));
  }
  mark(2);
  write_file(mask, bytes);
  free(memory);
  free(mask);
  free(data);
}

static void make_overlay(void) {
  size_t mask_bytes, palette_bytes, picture_bytes = 0;
  uint8_t *mask = read_file("in", &mask_bytes), *palette = read_file("palette", &palette_bytes);
  uint8_t *picture = *text("picture", "") ? read_file("picture", &picture_bytes) : NULL;
  int32_t width = whole("width", NULL), height = whole("height", NULL);
  int32_t label_bytes = whole("label_bytes", "1");
  size_t bytes = width > 0 && height > 0 ? 4 * (size_t)width * (size_t)height : 0;
  uint8_t *output = buffer(bytes);
  for (int32_t left = whole("repeat", "1"); left > 0; left--) {
    if (left == 1) mark(1);
    require(edgevit_overlay(mask, mask_bytes, label_bytes, width, height, palette,
                            (int32_t)(palette_bytes / 4), picture, picture_bytes, output, bytes));
  }
  mark(2);
  write_file(output, bytes);
  free(mask);
  free(palette);
  free(picture);
  free(output);
}

static void summarize(void) {
  size_t size;
  edgevit_latency latency;
  int64_t *samples = (int64_t *)(void *)read_file("in", &size);
  require(edgevit_summarize(samples, size / sizeof *samples, &latency));
  printf("{\"count\": %lld, \"mean\": %.17g, \"least\": %.17g, \"p10\": %.17g, \"p50\": %.17g, "
         "\"p90\": %.17g, \"p99\": %.17g, \"most\": %.17g}\n",
         (long long)latency.count, latency.mean, latency.least, latency.p10, latency.p50,
         latency.p90, latency.p99, latency.most);
  free(samples);
}

int main(int count, char **values) {
  argument_count = count;
  arguments = values;
  const char *command = count > 1 ? values[1] : "";
  if (!strcmp(command, "input")) make_input();
  else if (!strcmp(command, "mask")) make_mask(0);
  else if (!strcmp(command, "plain-mask")) make_mask(1);
  else if (!strcmp(command, "overlay")) make_overlay();
  else if (!strcmp(command, "latency")) summarize();
  else if (!strcmp(command, "version"))
    printf("{\"version\": %d, \"kernels\": \"%s\"}\n", (int)edgevit_core_version(),
           edgevit_core_kernels());
  else fail("knows version, input, mask, plain-mask, overlay and latency, not", command);
  return 0;
}
