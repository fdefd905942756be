#include "tool/cli/exit_status.h"

#include <c10/util/Exception.h>

#include <new>
#include <utility>

#include "tool/cli/console.h"
#include "tool/run/failure.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {

ExitResult exit_result_of(std::exception_ptr exception) noexcept {
  try {
    std::rethrow_exception(std::move(exception));
  } catch (const ReaderGone&) {
    return {kDone, ""};
  } catch (const RangeError& error) {
    return {kUsage, message_of(error)};
  } catch (const UsageError& error) {
    return {kUsage, message_of(error)};
  } catch (const ConfigError& error) {
    return {kBadModel, message_of(error)};
  } catch (const CheckpointError& error) {
    return {kBadModel, message_of(error)};
  } catch (const AudioError& error) {
    return {kSomeInputsFailed, message_of(error)};
  } catch (const StorageError& error) {
    return {kBadStorage, message_of(error)};
  } catch (const DeviceError& error) {
    return {kDeviceLost, message_of(error)};
  } catch (const c10::ValueError& error) {
    return {kUsage, one_line(error)};
  } catch (...) {
    return {kInternalError, describe(std::current_exception()).message};
  }
}

}  // namespace w2vbert::tool
