// What `w2vbert parity` shows: a table for a terminal, JSON, and a page for a browser.
#pragma once

#include <string>

#include "tool/parity/parity.h"

namespace w2vbert::tool {

struct ParityPaths {
  std::string model;
  std::string reference;
  std::string dump;  // of another engine; else empty
};

std::string parity_table(const ParityResult& result);
std::string parity_json(const ParityResult& result, const ParityPaths& paths);
// One page with everything in it: the verdict, settings and versions of both sides, how the error
// grows from layer to layer and over the frames of each, every module, the worst elements.
std::string parity_html(const ParityResult& result, const ParityPaths& paths);

// "conv_module: largest difference 0.31 (12 of 1776 values), expected at most 0": why `row` is
// outside.
std::string describe_outside(const ParityRow& row, double tolerance);

}  // namespace w2vbert::tool
