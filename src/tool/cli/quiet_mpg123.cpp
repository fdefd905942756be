// libsndfile decodes MP3 with libmpg123, which writes a line to stderr about each frame that it
// cannot decode, and libsndfile has no setting for that. The dynamic linker takes this program's
// mpg123_new for the one that libsndfile calls.
#include <dlfcn.h>

extern "C" {

struct mpg123_handle_struct;

// mpg123.h: mpg123_parms, mpg123_param_flags.
constexpr int kMpg123AddFlags = 2;
constexpr long kMpg123Quiet = 0x20;

[[gnu::visibility("default")]] mpg123_handle_struct* mpg123_new(const char* decoder, int* error) {
  using New = mpg123_handle_struct* (*)(const char*, int*);
  using SetParameter = int (*)(mpg123_handle_struct*, int, long, double);
  const auto make = reinterpret_cast<New>(::dlsym(RTLD_NEXT, "mpg123_new"));
  const auto set = reinterpret_cast<SetParameter>(::dlsym(RTLD_NEXT, "mpg123_param"));
  mpg123_handle_struct* const handle = make ? make(decoder, error) : nullptr;
  if (handle && set) set(handle, kMpg123AddFlags, kMpg123Quiet, 0);
  return handle;
}

}  // extern "C"
