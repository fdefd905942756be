// A process that may open no more files (EMFILE).
#pragma once

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "support/namespaces.h"

namespace w2vbert::testing {

// While it lives, nothing can be opened.
class DescriptorLimit {
 public:
  DescriptorLimit() {
    EXPECT_EQ(::getrlimit(RLIMIT_NOFILE, &before_), 0);
    const rlimit none{0, before_.rlim_max};
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  }
  ~DescriptorLimit() { (void)::setrlimit(RLIMIT_NOFILE, &before_); }
  DescriptorLimit(const DescriptorLimit&) = delete;
  DescriptorLimit& operator=(const DescriptorLimit&) = delete;

 private:
  rlimit before_{};
};

}  // namespace w2vbert::testing
