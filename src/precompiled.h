// What most files of this project include of LibTorch, compiled once for all targets. Not
// torch/torch.h: every file would pay for the templates behind the modules that nobody uses here
// (11 s a file instead of 7 with GCC 12 on one core).
#pragma once

#include <torch/nn/cloneable.h>
#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>
#include <torch/types.h>
#include <torch/utils.h>
