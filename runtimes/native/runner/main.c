/* Runs an exported file on a device: verifies nothing, times and writes what it computes.
 *
 *   edgevit-run-RUNTIME --model FILE [--library FILE] [--input FILE ...] [--output FILE ...]
 *       [--threads N] [--warmup N] [--runs N] [--min-secs S] [--max-secs S] [--cpu-mask HEX]
 *       [--setting NAME=VALUE ...] [--profile FILE] [--marks] [--describe]
 *
 * Inputs and outputs are raw values in the order of the file's ports. Results are JSON, a line an
 * event, each as soon as it is known, so that what was measured survives a device that is lost:
 *
 *   {"event": "opened", "engine": ..., "version": ..., "load_ns": ..., "inputs": [...], ...}
 *   {"event": "first", "ns": ...}
 *   {"event": "samples", "ns": [...]}       up to 64 at a time, without warm-up
 *   {"event": "maps", "maps": [...]}        with --marks: where code lies
 *   {"event": "done", "runs": ..., "peak_rss_kib": ...}
 *   {"event": "failed", "message": ...}     and exit 1; wrong arguments exit with 2
 *
 * --setting is the runtime's own (ONNX Runtime: a session configuration entry). --profile has it time
 * each operation into FILE, as its own JSON; the samples of such a run are not those of another.
 *
 * Outputs are those of the last run. --marks encloses the timed runs in the two system calls that a
 * counting emulator looks for (no kernel has them). --cpu-mask is for comparisons alone: a pinned
 * process is not what an app gets.
 */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#if defined(__linux__)
#include <sched.h>
#include <sys/syscall.h>
#else
#include <sys/resource.h>
#endif

#include "engine.h"

enum { CHUNK = 64, MARK = 0x5eed };

typedef struct {
  const char *model, *library;
  const char *inputs[ENGINE_MOST_PORTS], *outputs[ENGINE_MOST_PORTS];
  int input_count, output_count, marks, describe;
  engine_settings settings;
  long warmup, runs;
  double min_secs, max_secs;
  unsigned long long cpu_mask;
} options;

static engine_ports ports;

static void write_text(const char *text) {
  putchar('"');
  for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
    if (*c == '"' || *c == '\\') printf("\\%c", *c);
    else if (*c < 0x20 || *c >= 0x7f) printf("\\u%04x", *c); /* Latin-1 of what is not ASCII */
    else putchar(*c);
  }
  putchar('"');
}

static void fail(const char *message) {
  printf("{\"event\": \"failed\", \"message\": ");
  write_text(message);
  printf("}\n");
  fflush(stdout);
  exit(1);
}

static void require(const char *problem) {
  if (problem) fail(problem);
}

static void usage(const char *what, const char *which) {
  fprintf(stderr, "edgevit-run-%s: %s %s\n", engine_name, what, which);
  exit(2);
}

size_t engine_element_bytes(const char *dtype) {
  static const struct { const char *name; size_t bytes; } TYPES[] = {
      {"float32", 4}, {"float16", 2}, {"float64", 8}, {"int8", 1},  {"uint8", 1}, {"int16", 2},
      {"uint16", 2},  {"int32", 4},   {"uint32", 4},  {"int64", 8}, {"bool", 1}, {"uint64", 8}};
  for (size_t i = 0; dtype && i < sizeof TYPES / sizeof *TYPES; i++)
    if (!strcmp(TYPES[i].name, dtype)) return TYPES[i].bytes;
  return 0;
}

const char *engine_message(const char *what, const char *detail) {
  static char message[1024];
  snprintf(message, sizeof message, "%s: %s", what, detail ? detail : "no reason given");
  return message;
}

const char *engine_allocate(engine_port *port) {
  size_t bytes = engine_element_bytes(port->dtype);
  if (!bytes) return engine_message("a port has an element type that is not supported", port->name);
  for (int i = 0; i < port->rank; i++) {
    if (port->sizes[i] < 0) return engine_message("a port has a dynamic size", port->name);
    if (port->sizes[i] && bytes > ((size_t)1 << 31) / (size_t)port->sizes[i]) return engine_message("a port has more than 2 GiB", port->name);
    bytes *= (size_t)port->sizes[i];
  }
  port->bytes = bytes;
  if (posix_memalign(&port->data, 64, bytes ? bytes : 1))
    return engine_message("not enough memory", port->name);
  memset(port->data, 0, bytes);
  return NULL;
}

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void mark(const options *asked, long which) {
#if defined(__linux__)
  if (asked->marks) syscall(MARK, which);
#else
  (void)asked, (void)which;
#endif
}

/* The most memory that was resident. Not getrusage on Linux: it counts what the process was before it
 * became this program.
 */
static long peak_rss_kib(void) {
#if defined(__linux__)
  char line[128];
  long kib = -1;
  FILE *file = fopen("/proc/self/status", "r");
  while (file && fgets(line, sizeof line, file))
    if (sscanf(line, "VmHWM: %ld kB", &kib) == 1) break;
  if (file) fclose(file);
  return kib;
#else
  struct rusage used;
  return getrusage(RUSAGE_SELF, &used) ? -1 : used.ru_maxrss / 1024;
#endif
}

const char *engine_plain(const engine_settings *settings) {
  if (settings->count) return engine_message(engine_name, "has no such settings");
  if (settings->profile) return engine_message(engine_name, "has no profile of its operations");
  return NULL;
}

static double positive(const char *name, const char *text) {
  char *end;
  double value = strtod(text, &end);
  if (end == text || *end || !(value >= 0 && value <= 1e9)) usage("takes a number for", name);
  return value;
}

static void set(engine_settings *settings, const char *text) {
  const char *equals = strchr(text, '=');
  size_t length = equals ? (size_t)(equals - text) : 0;
  if (!length || length >= ENGINE_SETTING_BYTES || strlen(equals + 1) >= ENGINE_SETTING_BYTES ||
      settings->count == ENGINE_MOST_SETTINGS)
    usage("takes up to 8 times NAME=VALUE for", "--setting");
  memcpy(settings->names[settings->count], text, length);
  strcpy(settings->values[settings->count++], equals + 1);
}

static options parse(int count, char **words) {
  options asked;
  memset(&asked, 0, sizeof asked);
  asked.settings.threads = 1;
  asked.runs = 1;
  asked.max_secs = 1e9;
  for (int i = 1; i < count; i++) {
    const char *name = words[i];
    if (!strcmp(name, "--marks")) { asked.marks = 1; continue; }
    if (!strcmp(name, "--describe")) { asked.describe = 1; continue; }
    if (++i == count) usage("misses a value for", name);
    const char *value = words[i];
    if (!strcmp(name, "--model")) asked.model = value;
    else if (!strcmp(name, "--library")) asked.library = value;
    else if (!strcmp(name, "--input") && asked.input_count < ENGINE_MOST_PORTS)
      asked.inputs[asked.input_count++] = value;
    else if (!strcmp(name, "--output") && asked.output_count < ENGINE_MOST_PORTS)
      asked.outputs[asked.output_count++] = value;
    else if (!strcmp(name, "--threads")) asked.settings.threads = (int)positive(name, value);
    else if (!strcmp(name, "--setting")) set(&asked.settings, value);
    else if (!strcmp(name, "--profile")) asked.settings.profile = value;
    else if (!strcmp(name, "--warmup")) asked.warmup = (long)positive(name, value);
    else if (!strcmp(name, "--runs")) asked.runs = (long)positive(name, value);
    else if (!strcmp(name, "--min-secs")) asked.min_secs = positive(name, value);
    else if (!strcmp(name, "--max-secs")) asked.max_secs = positive(name, value);
    else if (!strcmp(name, "--cpu-mask")) {
      char *end;
      asked.cpu_mask = strtoull(value, &end, 16);
      if (!asked.cpu_mask || *end) usage("takes hex digits for", name);
    } else usage("does not know", name);
  }
  if (!asked.model) usage("misses", "--model");
  if (asked.settings.threads < 1 || asked.settings.threads > 64) usage("takes 1 to 64 for", "--threads");
  return asked;
}

static void pin(unsigned long long mask) {
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int i = 0; i < 64; i++)
    if (mask >> i & 1) CPU_SET(i, &set);
  if (sched_setaffinity(0, sizeof set, &set))
    fail(engine_message("the process cannot be pinned", strerror(errno)));
#else
  (void)mask;
  fail("this system cannot pin a process");
#endif
}

static void write_ports(const char *name, const engine_port *list, int count) {
  printf("\"%s\": [", name);
  for (int i = 0; i < count; i++) {
    printf("%s{\"name\": ", i ? ", " : "");
    write_text(list[i].name);
    printf(", \"dtype\": \"%s\", \"shape\": [", list[i].dtype);
    for (int k = 0; k < list[i].rank; k++)
      printf("%s%lld", k ? ", " : "", (long long)list[i].sizes[k]);
    printf("]}");
  }
  printf("]");
}

static void read_input(const char *path, engine_port *port) {
  FILE *file = fopen(path, "rb");
  if (!file) fail(engine_message("an input cannot be read", strerror(errno)));
  size_t got = fread(port->data, 1, port->bytes, file);
  int more = fgetc(file) != EOF;
  fclose(file);
  if (got != port->bytes || more)
    fail(engine_message("an input does not have the size of its port", port->name));
}

static void write_output(const char *path, const engine_port *port) {
  FILE *file = fopen(path, "wb");
  if (!file || fwrite(port->data, 1, port->bytes, file) != port->bytes || fclose(file))
    fail(engine_message("an output cannot be written", strerror(errno)));
}

static void write_samples(const int64_t *samples, int count) {
  if (!count) return;
  printf("{\"event\": \"samples\", \"ns\": [");
  for (int i = 0; i < count; i++) printf("%s%lld", i ? ", " : "", (long long)samples[i]);
  printf("]}\n");
  fflush(stdout);
}

/* Where code lies, for names of what was counted. */
static void write_maps(void) {
#if defined(__linux__)
  char line[4096], rights[8];
  FILE *file = fopen("/proc/self/maps", "r");
  int written = 0;
  printf("{\"event\": \"maps\", \"maps\": [");
  while (file && fgets(line, sizeof line, file)) {
    unsigned long long start, end, offset;
    int path = 0;
    line[strcspn(line, "\n")] = 0;
    if (sscanf(line, "%llx-%llx %7s %llx %*s %*s %n", &start, &end, rights, &offset, &path) < 4)
      continue;
    if (!strchr(rights, 'x') || !path || line[path] != '/') continue;
    printf("%s{\"start\": %llu, \"end\": %llu, \"offset\": %llu, \"path\": ", written++ ? ", " : "",
           start, end, offset);
    write_text(line + path);
    printf("}");
  }
  if (file) fclose(file);
  printf("]}\n");
#endif
}

/* The timed runs; writing samples lies between runs and is never timed. */
static long time_runs(const options *asked) {
  int64_t samples[CHUNK], began = now();
  int kept = 0;
  long done = 0;
  mark(asked, 1);
  for (;;) {
    int64_t before = now();
    require(engine_run());
    int64_t after = now();
    samples[kept++] = after - before;
    done++;
    double elapsed = (double)(after - began) / 1e9;
    int last = (done >= asked->runs && elapsed >= asked->min_secs) || elapsed >= asked->max_secs;
    if (last) mark(asked, 2);
    if (last || kept == CHUNK) {
      write_samples(samples, kept);
      kept = 0;
    }
    if (last) return done;
  }
}

int main(int count, char **words) {
  options asked = parse(count, words);
  setenv("ORT_DISABLE_TELEMETRY", "1", 1);
  setvbuf(stdout, NULL, _IOFBF, 1 << 16);
  if (asked.cpu_mask) pin(asked.cpu_mask);
  int64_t before = now();
  require(engine_open(asked.library, asked.model, &asked.settings, &ports));
  int64_t loaded = now() - before;
  printf("{\"event\": \"opened\", \"engine\": \"%s\", \"version\": ", engine_name);
  write_text(engine_version());
  printf(", \"load_ns\": %lld, ", (long long)loaded);
  write_ports("inputs", ports.inputs, ports.input_count);
  printf(", ");
  write_ports("outputs", ports.outputs, ports.output_count);
  printf("}\n");
  fflush(stdout);
  if (asked.describe) return 0;
  if (asked.input_count != ports.input_count || asked.output_count > ports.output_count)
    fail("the numbers of --input and --output are not those of the file's ports");
  for (int i = 0; i < asked.input_count; i++) read_input(asked.inputs[i], &ports.inputs[i]);

  before = now();
  require(engine_run());
  printf("{\"event\": \"first\", \"ns\": %lld}\n", (long long)(now() - before));
  fflush(stdout);
  for (long i = 0; i < asked.warmup; i++) require(engine_run());
  long runs = asked.runs ? time_runs(&asked) : 0;
  if (asked.marks) write_maps();
  if (asked.settings.profile) require(engine_profile(asked.settings.profile));
  for (int i = 0; i < asked.output_count; i++) write_output(asked.outputs[i], &ports.outputs[i]);
  printf("{\"event\": \"done\", \"runs\": %ld, \"peak_rss_kib\": %ld}\n", runs, peak_rss_kib());
  return fflush(stdout) ? 1 : 0;
}
