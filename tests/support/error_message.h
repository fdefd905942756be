// What an error says.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "support/namespaces.h"

namespace w2vbert::testing {

// The words of the `Error` that `call` throws, which fit into 2 KB; "accepted" without one.
template <typename Error, typename Call>
std::string message_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_LT(std::string(error.what()).size(), 2048U);
    return error.what();
  }
  return "accepted";
}

}  // namespace w2vbert::testing
