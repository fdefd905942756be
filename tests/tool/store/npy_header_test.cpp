#include "tool/store/npy_header.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace w2vbert::tool::testing {
namespace {

// numpy.save's bytes for numpy.zeros(shape, dtype).
TEST(NpyHeader, IsNumpys) {
  const std::string magic("\x93NUMPY\x01\x00v\x00", 10);
  const auto expected = [&](const std::string& text) {
    return magic + text + std::string(117 - text.size(), ' ') + "\n";
  };
  EXPECT_EQ(npy_header(4, {3}),
            expected("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }"));
  EXPECT_EQ(npy_header(2, {50, 1024}),
            expected("{'descr': '<f2', 'fortran_order': False, 'shape': (50, 1024), }"));
  EXPECT_EQ(npy_header(8, {1, 2, 3}),
            expected("{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2, 3), }"));
}

TEST(NpyHeader, SaysHowLongTheFileIs) {
  const std::vector<std::vector<std::int64_t>> shapes = {
      {1}, {0}, {7}, {0, 5}, {50, 1024}, {2, 3, 4}, {123456789, 1, 1}};
  for (const auto& shape : shapes) {
    for (const int bytes : {2, 4, 8}) {
      const std::string header = npy_header(bytes, shape);
      EXPECT_EQ(header.size() % 64, 0U);
      std::uint64_t data = static_cast<std::uint64_t>(bytes);
      for (const std::int64_t size : shape) data *= static_cast<std::uint64_t>(size);
      for (const std::string& behind : {std::string(), std::string("data, (or) not")}) {
        const auto found = scan_npy(header + behind);
        ASSERT_TRUE(found.has_value()) << header;
        EXPECT_EQ(found->data_offset, header.size());
        EXPECT_EQ(found->file_bytes, header.size() + data);
      }
    }
  }
}

TEST(NpyHeader, IsNoneWhereAByteIsMissingOrAnother) {
  const std::string header = npy_header(4, {50, 1024});
  for (std::size_t size = 0; size < header.size(); ++size) {
    EXPECT_FALSE(scan_npy(header.substr(0, size)).has_value()) << size;
    std::string changed = header;
    changed[size] = '~';
    EXPECT_FALSE(scan_npy(changed).has_value()) << size;
  }
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = header;
    return text.replace(text.find(from), from.size(), to);
  };
  EXPECT_FALSE(scan_npy(with("(50, 1024)", "(-5, 1024)")).has_value());
  EXPECT_FALSE(scan_npy(with("False", "True ")).has_value());
  EXPECT_FALSE(scan_npy(with("<f4", ">f4")).has_value());
  EXPECT_FALSE(scan_npy(with("<f4", "<u4")).has_value());
  // More bytes than can be counted.
  EXPECT_FALSE(scan_npy(npy_header(8, {4611686018427387904, 4})).has_value());
}

TEST(NpyHeader, IsOfIntegersToo) {
  const std::string header = npy_header(8, {7}, 'i');
  EXPECT_NE(header.find("'<i8'"), std::string::npos);
  EXPECT_EQ(scan_npy(header)->file_bytes, header.size() + 56);
}

TEST(NpyHead, OfOtherProgramsIsReadInBothVersionsAndOrders) {
  const std::string header = npy_header(4, {50, 1024});
  const auto read = read_npy_head(header + "data");
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->descr, "<f4");
  EXPECT_FALSE(read->fortran_order);
  EXPECT_EQ(read->shape, (std::vector<std::int64_t>{50, 1024}));
  EXPECT_EQ(read->data_offset, header.size());
  EXPECT_EQ(read_npy_head(npy_header(8, {3}))->shape, (std::vector<std::int64_t>{3}));
  std::string second("\x93NUMPY\x02\x00", 8);
  const std::string text = "{'descr': '>f8', 'fortran_order': True, 'shape': (), }\n";
  second += std::string{static_cast<char>(text.size()), 0, 0, 0} + text;
  const auto wide = read_npy_head(second);
  ASSERT_TRUE(wide.has_value());
  EXPECT_EQ(wide->descr, ">f8");
  EXPECT_TRUE(wide->fortran_order && wide->shape.empty());
  EXPECT_EQ(wide->data_offset, second.size());
  for (std::size_t size = 0; size < header.size(); ++size) {
    EXPECT_FALSE(read_npy_head(header.substr(0, size)).has_value()) << size;
  }
  std::string odd = header;
  EXPECT_FALSE(read_npy_head(odd.replace(odd.find("(50"), 3, "(-5")).has_value());
}

}  // namespace
}  // namespace w2vbert::tool::testing
