// Tests of src/<room>/ are in w2vbert::testing, tests of src/tool/<room>/ in
// w2vbert::tool::testing, which sees what the former has.
#pragma once

namespace w2vbert::testing {}
namespace w2vbert::tool::testing {
using namespace w2vbert::testing;  // NOLINT(google-build-using-namespace): see above
}
