// What the program's HTML pages have in common: text that is no markup, how a page begins, and how
// one is known again.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace w2vbert::tool {

// Text for HTML, also within an attribute; cut to `limit` bytes.
std::string html_text(std::string_view text, std::size_t limit = 400);

// A page up to its title, which tells which command wrote it: "parity", "view".
std::string page_begin(const std::string& command);
// The page and a comment with its digest, by which it is known again.
std::string sealed_page(std::string page);
// Whether the file begins so and is as sealed_page() made it: a page that was edited since is a
// file of its own. Throws StorageError where it cannot be read.
bool is_page_of(const std::string& command, const std::string& path);

}  // namespace w2vbert::tool
