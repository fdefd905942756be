#include "nn/gradient_checkpoint.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <torch/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/utils.h>

#include <algorithm>
#include <mutex>
#include <utility>

namespace w2vbert {
namespace {

// The generators that a computation on `device` draws from.
std::vector<at::Generator> generators_of(torch::Device device) {
  std::vector<at::Generator> generators = {at::detail::getDefaultCPUGenerator()};
  if (device.is_cuda()) {
    generators.push_back(at::detail::getCUDAHooks().getDefaultGenerator(device.index()));
  }
  return generators;
}

std::vector<torch::Tensor> states_of(std::vector<at::Generator> generators) {
  std::vector<torch::Tensor> states;
  for (at::Generator& generator : generators) {
    const std::lock_guard<std::mutex> lock(generator.mutex());
    states.push_back(generator.get_state());
  }
  return states;
}

void set_states(std::vector<at::Generator> generators, const std::vector<torch::Tensor>& states) {
  for (std::size_t i = 0; i < generators.size(); ++i) {
    const std::lock_guard<std::mutex> lock(generators[i].mutex());
    generators[i].set_state(states[i]);
  }
}

// Puts the generators back to where they were when it goes.
class RandomFork {
 public:
  RandomFork(torch::Device device, const std::vector<torch::Tensor>& states)
      : generators_(generators_of(device)), before_(states_of(generators_)) {
    set_states(generators_, states);
  }
  ~RandomFork() { set_states(generators_, before_); }
  RandomFork(const RandomFork&) = delete;
  RandomFork& operator=(const RandomFork&) = delete;

 private:
  std::vector<at::Generator> generators_;
  std::vector<torch::Tensor> before_;
};

struct Call : torch::CustomClassHolder {
  CheckpointedFunction function;
  std::vector<torch::Tensor> random_states;
  std::vector<std::size_t> defined;  // which of the function's outputs are
};

std::vector<torch::Tensor> run(const Call& call, const torch::Tensor& input) {
  const torch::AutoGradMode grad(true);  // as without checkpointing: it decides which kernels run
  return call.function(input);
}

// inputs[0] is the function's input, the parameters follow.
struct Checkpoint : torch::autograd::Function<Checkpoint> {
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context,
                                                at::TensorList inputs,
                                                const c10::intrusive_ptr<Call>& call) {
    context->set_materialize_grads(false);
    context->saved_data["call"] = c10::IValue::make_capsule(call);
    context->save_for_backward(inputs.vec());
    call->random_states = states_of(generators_of(inputs[0].device()));
    const auto outputs = run(*call, inputs[0].detach().requires_grad_(inputs[0].requires_grad()));
    torch::autograd::variable_list values;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      if (!outputs[i].defined()) continue;
      call->defined.push_back(i);
      values.push_back(outputs[i].detach());
    }
    return values;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto call =
        c10::static_intrusive_pointer_cast<Call>(context->saved_data["call"].toCapsule());
    auto inputs = context->get_saved_variables();
    inputs[0] = inputs[0].detach().requires_grad_(inputs[0].requires_grad());
    std::vector<torch::Tensor> outputs;
    {
      const RandomFork fork(inputs[0].device(), call->random_states);
      outputs = run(*call, inputs[0]);
    }
    torch::autograd::variable_list sent, reached, wanted;
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      if (!gradients[i].defined()) continue;
      reached.push_back(outputs[call->defined[i]]);
      sent.push_back(gradients[i]);
    }
    torch::autograd::variable_list result(inputs.size() + 1);  // none for the call itself
    if (reached.empty()) return result;
    std::vector<std::size_t> places;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (!inputs[i].requires_grad()) continue;
      wanted.push_back(inputs[i]);
      places.push_back(i);
    }
    const auto found = torch::autograd::grad(reached, wanted, sent, /*retain_graph=*/std::nullopt,
                                             /*create_graph=*/false, /*allow_unused=*/true);
    for (std::size_t i = 0; i < places.size(); ++i) result[places[i]] = found[i];
    return result;
  }
};

}  // namespace

std::vector<torch::Tensor> gradient_checkpoint(const CheckpointedFunction& function,
                                               const torch::Tensor& input,
                                               const std::vector<torch::Tensor>& parameters) {
  if (!torch::GradMode::is_enabled()) return function(input);
  std::vector<torch::Tensor> inputs = {input};
  inputs.insert(inputs.end(), parameters.begin(), parameters.end());
  const auto call = c10::make_intrusive<Call>();
  call->function = function;
  const auto values = Checkpoint::apply(at::TensorList(inputs), call);
  const auto count = call->defined.empty() ? 0 : call->defined.back() + 1;
  std::vector<torch::Tensor> outputs(count);
  for (std::size_t i = 0; i < values.size(); ++i) outputs[call->defined[i]] = values[i];
  return outputs;
}

}  // namespace w2vbert
