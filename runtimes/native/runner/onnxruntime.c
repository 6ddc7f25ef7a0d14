/* ONNX Runtime through its C interface, loaded when it is run.
 *
 * The interface is a table of functions to which entries are only ever appended
 * (onnxruntime_c_api.h, OrtApi: "DO NOT MODIFY ABOVE"), so the few that are needed are named here by
 * their place, and no header has to be installed.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "engine.h"

const char *const engine_name = "onnxruntime";

enum {
  GET_ERROR_MESSAGE = 2,
  CREATE_ENV = 3,
  CREATE_SESSION = 7,
  RUN = 9,
  CREATE_SESSION_OPTIONS = 10,
  ENABLE_PROFILING = 14,
  SET_LOG_SEVERITY = 22,
  SET_INTRA_THREADS = 24,
  SET_INTER_THREADS = 25,
  INPUT_COUNT = 30,
  OUTPUT_COUNT = 31,
  INPUT_TYPE = 33,
  OUTPUT_TYPE = 34,
  INPUT_NAME = 36,
  OUTPUT_NAME = 37,
  CREATE_TENSOR_WITH_DATA = 49,
  CAST_TO_TENSOR_INFO = 55,
  ELEMENT_TYPE = 60,
  DIMENSIONS_COUNT = 61,
  DIMENSIONS = 62,
  CREATE_CPU_MEMORY_INFO = 69,
  DEFAULT_ALLOCATOR = 78,
  END_PROFILING = 110,
  ADD_CONFIG_ENTRY = 130
};
enum { API_VERSION = 1, LOG_FATAL = 4, ARENA_ALLOCATOR = 1, DEFAULT_MEMORY = 0 };

/* ONNXTensorElementDataType, which follows onnx.TensorProto.DataType */
static const char *const DTYPES[] = {NULL,    "float32", "uint8",   "int8",    "uint16", "int16",
                                     "int32", "int64",   NULL,      "bool",    "float16", "float64",
                                     "uint32", "uint64"};

typedef void *status; /* NULL: success */
typedef struct {
  void *const *(*get_api)(uint32_t version);
  const char *(*get_version)(void);
} api_base;

static void *const *api;
static const char *version = "unknown";
static void *session, *inputs[ENGINE_MOST_PORTS], *outputs[ENGINE_MOST_PORTS];
static char *input_names[ENGINE_MOST_PORTS], *output_names[ENGINE_MOST_PORTS];
static int input_count, output_count;

#define CALL(place, types, ...) ((status(*) types)api[place])(__VA_ARGS__)

const char *engine_version(void) { return version; }

static const char *problem(status failed) {
  return ((const char *(*)(status))api[GET_ERROR_MESSAGE])(failed);
}

#define TRY(place, types, ...)                                  \
  do {                                                          \
    status failed_ = CALL(place, types, __VA_ARGS__);           \
    if (failed_) return engine_message(what, problem(failed_)); \
  } while (0)

static const char *describe(int input, size_t index, void *allocator, engine_port *port,
                            char **name) {
  static const char *what = "onnxruntime cannot describe the file";
  void *info;
  const void *tensor;
  int type;
  size_t rank;
  TRY(input ? INPUT_NAME : OUTPUT_NAME, (void *, size_t, void *, char **), session, index,
      allocator, name);
  TRY(input ? INPUT_TYPE : OUTPUT_TYPE, (void *, size_t, void **), session, index, &info);
  TRY(CAST_TO_TENSOR_INFO, (void *, const void **), info, &tensor);
  if (!tensor) return engine_message(what, "a port is no tensor");
  TRY(ELEMENT_TYPE, (const void *, int *), tensor, &type);
  TRY(DIMENSIONS_COUNT, (const void *, size_t *), tensor, &rank);
  if (rank > ENGINE_MOST_RANK) return engine_message(what, "a port has more than 8 axes");
  TRY(DIMENSIONS, (const void *, int64_t *, size_t), tensor, port->sizes, rank);
  snprintf(port->name, sizeof port->name, "%s", *name);
  port->rank = (int)rank;
  port->dtype = type >= 0 && type < (int)(sizeof DTYPES / sizeof *DTYPES) ? DTYPES[type] : NULL;
  return engine_allocate(port);
}

static const char *bind(const engine_port *port, const void *memory, void **value) {
  static const char *what = "onnxruntime cannot make a tensor";
  int type = 0;
  while (!DTYPES[type] || strcmp(DTYPES[type], port->dtype)) type++;
  TRY(CREATE_TENSOR_WITH_DATA, (const void *, void *, size_t, const int64_t *, size_t, int, void **),
      memory, port->data, port->bytes, port->sizes, (size_t)port->rank, type, value);
  return NULL;
}

const char *engine_profile(const char *path) {
  static const char *what = "onnxruntime cannot write its profile";
  void *allocator;
  char *written;
  TRY(DEFAULT_ALLOCATOR, (void **), &allocator);
  TRY(END_PROFILING, (void *, void *, char **), session, allocator, &written);
  /* It puts the time into the name. */
  return rename(written, path) ? engine_message(what, written) : NULL;
}

const char *engine_open(const char *library, const char *file, const engine_settings *asked,
                        engine_ports *ports) {
  static const char *what = "onnxruntime cannot open the file";
  void *handle = dlopen(library ? library : "libonnxruntime.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!handle) return engine_message("libonnxruntime cannot be loaded", dlerror());
  const api_base *(*get_base)(void) = (const api_base *(*)(void))dlsym(handle, "OrtGetApiBase");
  if (!get_base) return engine_message("libonnxruntime cannot be loaded", dlerror());
  version = get_base()->get_version();
  api = get_base()->get_api(API_VERSION);
  if (!api) return engine_message("this libonnxruntime is too new", version);

  void *environment, *settings, *allocator, *memory;
  size_t in, out;
  TRY(CREATE_ENV, (int, const char *, void **), LOG_FATAL, "edgevit", &environment);
  TRY(CREATE_SESSION_OPTIONS, (void **), &settings);
  TRY(SET_INTRA_THREADS, (void *, int), settings, asked->threads);
  TRY(SET_INTER_THREADS, (void *, int), settings, 1);
  TRY(SET_LOG_SEVERITY, (void *, int), settings, LOG_FATAL);
  for (int i = 0; i < asked->count; i++)
    TRY(ADD_CONFIG_ENTRY, (void *, const char *, const char *), settings, asked->names[i],
        asked->values[i]);
  if (asked->profile) TRY(ENABLE_PROFILING, (void *, const char *), settings, asked->profile);
  TRY(CREATE_SESSION, (void *, const char *, void *, void **), environment, file, settings,
      &session);
  TRY(DEFAULT_ALLOCATOR, (void **), &allocator);
  TRY(CREATE_CPU_MEMORY_INFO, (int, int, void **), ARENA_ALLOCATOR, DEFAULT_MEMORY, &memory);
  TRY(INPUT_COUNT, (void *, size_t *), session, &in);
  TRY(OUTPUT_COUNT, (void *, size_t *), session, &out);
  if (in > ENGINE_MOST_PORTS || out > ENGINE_MOST_PORTS)
    return engine_message(what, "it has too many inputs or outputs");
  ports->input_count = input_count = (int)in;
  ports->output_count = output_count = (int)out;
  const char *failed = NULL;
  for (size_t i = 0; i < in && !failed; i++) {
    failed = describe(1, i, allocator, &ports->inputs[i], &input_names[i]);
    if (!failed) failed = bind(&ports->inputs[i], memory, &inputs[i]);
  }
  for (size_t i = 0; i < out && !failed; i++) {
    failed = describe(0, i, allocator, &ports->outputs[i], &output_names[i]);
    if (!failed) failed = bind(&ports->outputs[i], memory, &outputs[i]);
  }
  return failed;
}

const char *engine_run(void) {
  static const char *what = "onnxruntime failed while running";
  TRY(RUN,
      (void *, const void *, const char *const *, void *const *, size_t, const char *const *, size_t,
       void **),
      session, NULL, (const char *const *)input_names, inputs, (size_t)input_count,
      (const char *const *)output_names, (size_t)output_count, outputs);
  return NULL;
}
