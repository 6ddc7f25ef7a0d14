// ExecuTorch's Module, linked to the libraries of its wheel.

#include <cstdio>
#include <cstring>
#include <string>
#include <unordered_set>
#include <vector>

#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>

#include "engine.h"

namespace executorch::extension::threadpool {
// Declared in extension/threadpool/threadpool.h, which the wheel leaves out.
class ThreadPool {
 public:
  size_t get_thread_count() const;
  bool _unsafe_reset_threadpool(uint32_t threads);
};
ThreadPool *get_threadpool();
}  // namespace executorch::extension::threadpool

using executorch::aten::ScalarType;
using executorch::extension::Module;
using executorch::extension::TensorPtr;
using executorch::runtime::Error;
using executorch::runtime::EValue;
using executorch::runtime::TensorInfo;

extern "C" const char *const engine_name = "executorch";

static Module *module;
static std::string method;
static std::vector<TensorPtr> tensors;
static std::vector<EValue> arguments;
static engine_ports *all;

const char *engine_version(void) { return EDGEVIT_EXECUTORCH_VERSION; }

static const char *dtype_of(ScalarType type) {
  switch (type) {
    case ScalarType::Byte: return "uint8";
    case ScalarType::Char: return "int8";
    case ScalarType::Short: return "int16";
    case ScalarType::Int: return "int32";
    case ScalarType::Long: return "int64";
    case ScalarType::Half: return "float16";
    case ScalarType::Float: return "float32";
    case ScalarType::Double: return "float64";
    case ScalarType::Bool: return "bool";
    default: return nullptr;
  }
}

static const char *failed(const char *what, Error error) {
  char text[64];
  snprintf(text, sizeof text, "error 0x%x", static_cast<unsigned>(error));
  return engine_message(what, text);
}

static const char *describe(const TensorInfo &info, const char *kind, size_t index,
                            engine_port *port) {
  auto sizes = info.sizes();
  if (sizes.size() > ENGINE_MOST_RANK) return "a port has more than 8 axes";
  snprintf(port->name, sizeof port->name, "%s_%zu", kind, index);
  port->dtype = dtype_of(info.scalar_type());
  port->rank = static_cast<int>(sizes.size());
  for (size_t i = 0; i < sizes.size(); i++) port->sizes[i] = sizes[i];
  return engine_allocate(port);
}

const char *engine_profile(const char *path) {
  (void)path;
  return "ExecuTorch has no profile";
}

const char *engine_open(const char *library, const char *file, const engine_settings *asked,
                        engine_ports *ports) {
  const char *what = "ExecuTorch cannot open the file";
  (void)library;
  if (const char *refused = engine_plain(asked)) return refused;
  all = ports;
  auto *pool = executorch::extension::threadpool::get_threadpool();
  if (!pool || !pool->_unsafe_reset_threadpool(static_cast<uint32_t>(asked->threads)))
    return "ExecuTorch does not take this number of threads";
  module = new Module(file, Module::LoadMode::Mmap);
  auto names = module->method_names();
  if (!names.ok()) return failed(what, names.error());
  if (names->count("forward")) method = "forward";
  else if (names->size() == 1) method = *names->begin();
  else return engine_message(what, "it has no method 'forward'");
  Error loaded = module->load_method(method);
  if (loaded != Error::Ok) return failed(what, loaded);
  auto meta = module->method_meta(method);
  if (!meta.ok()) return failed(what, meta.error());
  if (meta->num_inputs() > ENGINE_MOST_PORTS || meta->num_outputs() > ENGINE_MOST_PORTS)
    return engine_message(what, "it has too many inputs or outputs");
  ports->input_count = static_cast<int>(meta->num_inputs());
  ports->output_count = static_cast<int>(meta->num_outputs());
  for (size_t i = 0; i < meta->num_inputs(); i++) {
    auto info = meta->input_tensor_meta(i);
    if (!info.ok()) return failed(what, info.error());
    if (const char *problem = describe(*info, "input", i, &ports->inputs[i])) return problem;
    std::vector<executorch::aten::SizesType> sizes(info->sizes().begin(), info->sizes().end());
    tensors.push_back(
        executorch::extension::from_blob(ports->inputs[i].data, sizes, info->scalar_type()));
    arguments.emplace_back(*tensors.back());
  }
  for (size_t i = 0; i < meta->num_outputs(); i++) {
    auto info = meta->output_tensor_meta(i);
    if (!info.ok()) return failed(what, info.error());
    if (const char *problem = describe(*info, "output", i, &ports->outputs[i])) return problem;
  }
  return nullptr;
}

const char *engine_run(void) {
  auto results = module->execute(method, arguments);
  if (!results.ok()) return failed("ExecuTorch failed while running", results.error());
  for (int i = 0; i < all->output_count; i++) {
    if (static_cast<size_t>(i) >= results->size() || !(*results)[i].isTensor() ||
        (*results)[i].toTensor().nbytes() != all->outputs[i].bytes)
      return "ExecuTorch returned something else than the file's outputs";
    memcpy(all->outputs[i].data, (*results)[i].toTensor().const_data_ptr(), all->outputs[i].bytes);
  }
  return nullptr;
}
