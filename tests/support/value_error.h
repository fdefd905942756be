// What a c10::ValueError says.
#pragma once

#include <c10/util/Exception.h>

#include <exception>
#include <functional>
#include <string>

#include "support/namespaces.h"

namespace w2vbert::testing {

// The words of the c10::ValueError that `call` throws; others where it throws something else.
inline std::string value_error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const c10::ValueError& error) {
    return error.what_without_backtrace();
  } catch (const std::exception& error) {
    return std::string("another exception: ") + error.what();
  }
  return "no exception";
}

}  // namespace w2vbert::testing
