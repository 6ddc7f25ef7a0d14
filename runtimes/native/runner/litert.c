/* LiteRT through the C interface of its wheel's libLiteRt.so, loaded when it is run.
 *
 * The functions and the one struct are those of LiteRT 2.x (litert/c/litert_*.h; runtime interface
 * 0.3.0), declared here as far as they are used, because the wheel brings no headers. The file is
 * computed by the CPU accelerator, XNNPACK and LiteRT's own kernels.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"

const char *const engine_name = "litert";

enum { CPU = 1, READ = 0, WRITE = 1 };

typedef struct {
  int32_t type;
  uint32_t rank : 7, has_strides : 1;
  int32_t sizes[8];
  uint32_t strides[8];
} tensor_type;

typedef void *handle;

/* X(result, name, arguments) */
#define FUNCTIONS(X)                                                             \
  X(int, LiteRtCreateEnvironment, (int, const void *, handle *))                 \
  X(int, LiteRtCreateModelFromFile, (handle, const char *, handle *))            \
  X(int, LiteRtGetNumModelSignatures, (handle, size_t *))                        \
  X(int, LiteRtGetModelSignature, (handle, size_t, handle *))                    \
  X(int, LiteRtGetNumSignatureInputs, (handle, size_t *))                        \
  X(int, LiteRtGetNumSignatureOutputs, (handle, size_t *))                       \
  X(int, LiteRtGetSignatureInputName, (handle, size_t, const char **))           \
  X(int, LiteRtGetSignatureOutputName, (handle, size_t, const char **))          \
  X(int, LiteRtGetSignatureInputTensorByIndex, (handle, size_t, handle *))       \
  X(int, LiteRtGetSignatureOutputTensorByIndex, (handle, size_t, handle *))      \
  X(int, LiteRtGetRankedTensorType, (handle, tensor_type *))                     \
  X(int, LiteRtCreateOptions, (handle *))                                        \
  X(int, LiteRtSetOptionsHardwareAccelerators, (handle, int))                    \
  X(int, LiteRtCreateOpaqueOptions, (const char *, void *, void (*)(void *), handle *)) \
  X(int, LiteRtAddOpaqueOptions, (handle, handle))                               \
  X(int, LiteRtCreateCompiledModel, (handle, handle, handle, handle *))          \
  X(int, LiteRtGetCompiledModelInputBufferRequirements, (handle, size_t, size_t, handle *)) \
  X(int, LiteRtGetCompiledModelOutputBufferRequirements, (handle, size_t, size_t, handle *)) \
  X(int, LiteRtCreateManagedTensorBufferFromRequirements,                        \
    (handle, const tensor_type *, handle, handle *))                             \
  X(int, LiteRtLockTensorBuffer, (handle, void **, int))                         \
  X(int, LiteRtUnlockTensorBuffer, (handle))                                     \
  X(int, LiteRtRunCompiledModel, (handle, size_t, size_t, handle *, size_t, handle *))

#define DECLARE(result, name, arguments) static result(*name) arguments;
FUNCTIONS(DECLARE)

static handle compiled;
static handle buffers_in[ENGINE_MOST_PORTS], buffers_out[ENGINE_MOST_PORTS];
static engine_ports *all;

const char *engine_version(void) { return "2.x (libLiteRt.so does not tell)"; }

static const char *dtype_of(int32_t type) {
  switch (type) { /* LiteRtElementType, which follows TfLiteType */
    case 1: return "float32";
    case 2: return "int32";
    case 3: return "uint8";
    case 4: return "int64";
    case 6: return "bool";
    case 7: return "int16";
    case 9: return "int8";
    case 10: return "float16";
    case 11: return "float64";
    case 13: return "uint64";
    case 16: return "uint32";
    case 17: return "uint16";
    default: return NULL;
  }
}

static const char *failed(const char *what, int status) {
  static char text[64];
  snprintf(text, sizeof text, "status %d", status);
  return engine_message(what, text);
}

#define TRY(call)                              \
  do {                                         \
    int status_ = (call);                      \
    if (status_) return failed(what, status_); \
  } while (0)

static void keep(void *payload) { (void)payload; }

static const char *describe(int input, handle environment, handle signature, size_t index,
                            engine_port *port, handle *buffer) {
  static const char *what = "LiteRT cannot describe the file";
  tensor_type type;
  const char *name;
  handle tensor, needs;
  memset(&type, 0, sizeof type);
  TRY((input ? LiteRtGetSignatureInputName : LiteRtGetSignatureOutputName)(signature, index, &name));
  TRY((input ? LiteRtGetSignatureInputTensorByIndex : LiteRtGetSignatureOutputTensorByIndex)(
      signature, index, &tensor));
  TRY(LiteRtGetRankedTensorType(tensor, &type));
  if (type.rank > ENGINE_MOST_RANK) return engine_message(what, "a port has more than 8 axes");
  snprintf(port->name, sizeof port->name, "%s", name);
  port->dtype = dtype_of(type.type);
  port->rank = (int)type.rank;
  for (int i = 0; i < port->rank; i++) port->sizes[i] = type.sizes[i];
  const char *problem = engine_allocate(port);
  if (problem) return problem;
  TRY((input ? LiteRtGetCompiledModelInputBufferRequirements
             : LiteRtGetCompiledModelOutputBufferRequirements)(compiled, 0, index, &needs));
  TRY(LiteRtCreateManagedTensorBufferFromRequirements(environment, &type, needs, buffer));
  return NULL;
}

const char *engine_profile(const char *path) {
  (void)path;
  return "LiteRT has no profile";
}

const char *engine_open(const char *library, const char *file, const engine_settings *asked,
                        engine_ports *ports) {
  static const char *what = "LiteRT cannot open the file";
  static char settings[32];
  const char *refused = engine_plain(asked);
  if (refused) return refused;
  void *runtime = dlopen(library ? library : "libLiteRt.so", RTLD_NOW | RTLD_LOCAL);
  if (!runtime) return engine_message("libLiteRt.so cannot be loaded", dlerror());
#define LOAD(result, name, arguments)                                     \
  name = (result(*) arguments)dlsym(runtime, #name);                      \
  if (!name) return engine_message("this libLiteRt.so has another interface", dlerror());
  FUNCTIONS(LOAD)

  handle environment, model, options, cpu, signature;
  size_t signatures, in, out;
  TRY(LiteRtCreateEnvironment(0, NULL, &environment));
  TRY(LiteRtCreateModelFromFile(environment, file, &model));
  TRY(LiteRtGetNumModelSignatures(model, &signatures));
  if (signatures != 1) return engine_message(what, "it does not have exactly one signature");
  TRY(LiteRtGetModelSignature(model, 0, &signature));
  TRY(LiteRtCreateOptions(&options));
  TRY(LiteRtSetOptionsHardwareAccelerators(options, CPU));
  snprintf(settings, sizeof settings, "num_threads = %d\n", asked->threads);
  TRY(LiteRtCreateOpaqueOptions("xnnpack", settings, keep, &cpu));
  TRY(LiteRtAddOpaqueOptions(options, cpu));
  TRY(LiteRtCreateCompiledModel(environment, model, options, &compiled));
  TRY(LiteRtGetNumSignatureInputs(signature, &in));
  TRY(LiteRtGetNumSignatureOutputs(signature, &out));
  if (in > ENGINE_MOST_PORTS || out > ENGINE_MOST_PORTS)
    return engine_message(what, "it has too many inputs or outputs");
  all = ports;
  ports->input_count = (int)in;
  ports->output_count = (int)out;
  const char *problem = NULL;
  for (size_t i = 0; i < in && !problem; i++)
    problem = describe(1, environment, signature, i, &ports->inputs[i], &buffers_in[i]);
  for (size_t i = 0; i < out && !problem; i++)
    problem = describe(0, environment, signature, i, &ports->outputs[i], &buffers_out[i]);
  return problem;
}

static const char *copy(handle buffer, const engine_port *port, int direction) {
  static const char *what = "LiteRT cannot reach a tensor";
  void *memory;
  TRY(LiteRtLockTensorBuffer(buffer, &memory, direction));
  if (direction == WRITE) memcpy(memory, port->data, port->bytes);
  else memcpy(port->data, memory, port->bytes);
  TRY(LiteRtUnlockTensorBuffer(buffer));
  return NULL;
}

const char *engine_run(void) {
  static const char *what = "LiteRT failed while running";
  const char *problem = NULL;
  for (int i = 0; i < all->input_count && !problem; i++)
    problem = copy(buffers_in[i], &all->inputs[i], WRITE);
  if (problem) return problem;
  TRY(LiteRtRunCompiledModel(compiled, 0, (size_t)all->input_count, buffers_in,
                             (size_t)all->output_count, buffers_out));
  for (int i = 0; i < all->output_count && !problem; i++)
    problem = copy(buffers_out[i], &all->outputs[i], READ);
  return problem;
}
