#include "exit_status.h"

#include <c10/util/Exception.h>

#include <new>

#include "console.h"
#include "w2vbert/core/error.h"
#include "w2vbert/pipeline/failure.h"

namespace w2vbert::cli {

Ending ending_of(std::exception_ptr exception) noexcept {
  try {
    std::rethrow_exception(exception);
  } catch (const ReaderGone&) {
    return {kDone, ""};
  } catch (const UsageError& error) {
    return {kUsage, error.what()};
  } catch (const ConfigError& error) {
    return {kBadModel, error.what()};
  } catch (const CheckpointError& error) {
    return {kBadModel, error.what()};
  } catch (const AudioError& error) {
    return {kSomeInputsFailed, error.what()};
  } catch (const StorageError& error) {
    return {kBadStorage, error.what()};
  } catch (const DeviceError& error) {
    return {kDeviceLost, error.what()};
  } catch (const c10::ValueError& error) {
    return {kUsage, one_line(error)};
  } catch (...) {
    return {kInternalError, describe(std::current_exception()).message};
  }
}

}  // namespace w2vbert::cli
