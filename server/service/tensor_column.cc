// Copyright 2026 The stepd authors
// SPDX-License-Identifier: Apache-2.0

#include "server/service/tensor_column.h"

#include <cmath>
#include <cstddef>
#include <cstring>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "proto/stepd/v1/policy_service.pb.h"
#include "server/common/error.h"

namespace stepd {
namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
              "tensors travel little-endian and are used as they came");

std::optional<DType> FromWire(v1::DataType dtype) {
  switch (dtype) {
    case v1::DATA_TYPE_BOOL:
      return DType::kBool;
    case v1::DATA_TYPE_UINT8:
      return DType::kUInt8;
    case v1::DATA_TYPE_INT32:
      return DType::kInt32;
    case v1::DATA_TYPE_INT64:
      return DType::kInt64;
    case v1::DATA_TYPE_FLOAT16:
      return DType::kFloat16;
    case v1::DATA_TYPE_BFLOAT16:
      return DType::kBFloat16;
    case v1::DATA_TYPE_FLOAT32:
      return DType::kFloat32;
    case v1::DATA_TYPE_FLOAT64:
      return DType::kFloat64;
    default:
      return std::nullopt;
  }
}

bool Converts(DType from, DType to) {
  if (to == DType::kInt64) {
    return from == DType::kInt32 || from == DType::kInt64;
  }
  if (to == DType::kBool) return from == DType::kBool;
  return from != DType::kBool;
}

std::string WantedDType(DType dtype) {
  if (dtype == DType::kBool) return "bool";
  return dtype == DType::kInt64 ? "int64 or int32" : "any real number";
}

absl::Status FieldError(absl::string_view reason, const FieldSpec& field,
                        const std::string& got, const std::string& want) {
  return Error(
      absl::StatusCode::kInvalidArgument, reason,
      absl::StrCat("input \"", field.name, "\": got ", got, ", want ", want),
      {{"field", field.name}, {"got", got}, {"want", want}});
}

// The rank comes from the wire: more than a few sizes help nobody.
std::string ShapeText(absl::Span<const std::int64_t> shape) {
  constexpr std::size_t kMaxRank = 8;
  return absl::StrCat("[", absl::StrJoin(shape.subspan(0, kMaxRank), ", "),
                      shape.size() > kMaxRank ? ", ...]" : "]");
}

// The shape a tensor of `field` must have; "N" is the leading size.
std::string WantedShape(const FieldSpec& field) {
  std::string text = "[N";
  for (std::size_t i = field.is_ragged() ? 1 : 0; i < field.shape.size(); ++i) {
    absl::StrAppend(&text, ", ", field.shape[i]);
  }
  return text + "]";
}

absl::Status CheckShape(const FieldSpec& field, const v1::Tensor& tensor,
                        DType dtype) {
  const absl::Span<const std::int64_t> got(tensor.shape().data(),
                                           tensor.shape_size());
  absl::Span<const std::int64_t> want(field.shape);
  if (field.is_ragged()) want.remove_prefix(1);
  const bool fits =
      got.size() == want.size() + 1 && got[0] >= 0 && got.subspan(1) == want;
  if (!fits) {
    return FieldError(reason::kFieldShape, field, ShapeText(got),
                      WantedShape(field));
  }
  // The element counts of a spec were checked when the policy was loaded; the
  // leading size comes from the wire.
  std::int64_t bytes = 0;
  if (__builtin_mul_overflow(got[0], field.num_elements() * SizeOf(dtype),
                             &bytes) ||
      static_cast<std::uint64_t>(bytes) != tensor.data().size()) {
    return FieldError(
        reason::kFieldShape, field,
        absl::StrCat(tensor.data().size(), " bytes"),
        absl::StrCat("the bytes of ", Name(dtype), ShapeText(got)));
  }
  return absl::OkStatus();
}

template <typename T>
T LoadAt(const char* data, std::size_t i) {
  T value;
  std::memcpy(&value, data + i * sizeof(T), sizeof(T));
  return value;
}

float FromBits(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

float HalfToFloat(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000U) << 16;
  const std::uint32_t exponent = (half >> 10) & 0x1FU;
  const std::uint32_t mantissa = half & 0x3FFU;
  if (exponent == 0) {  // zero and subnormals: mantissa * 2^-24, exactly
    const float magnitude = std::ldexp(static_cast<float>(mantissa), -24);
    return sign != 0 ? -magnitude : magnitude;
  }
  const std::uint32_t wide = exponent == 0x1FU ? 0xFFU : exponent + 112;
  return FromBits(sign | (wide << 23) | (mantissa << 13));
}

template <typename From, typename To, typename Convert>
void ConvertAll(const std::string& from, std::vector<char>* to,
                Convert convert) {
  const std::size_t count = from.size() / sizeof(From);
  to->resize(count * sizeof(To));
  for (std::size_t i = 0; i < count; ++i) {
    const To value = convert(LoadAt<From>(from.data(), i));
    std::memcpy(to->data() + i * sizeof(To), &value, sizeof(To));
  }
}

template <typename From, typename To>
void CastAll(const std::string& from, std::vector<char>* to) {
  ConvertAll<From, To>(from, to, [](From x) { return static_cast<To>(x); });
}

// REQUIRES: Converts(from, kFloat32).
void ToFloats(DType from, const std::string& data, std::vector<char>* out) {
  switch (from) {
    case DType::kUInt8:
      return CastAll<std::uint8_t, float>(data, out);
    case DType::kInt32:
      return CastAll<std::int32_t, float>(data, out);
    case DType::kInt64:
      return CastAll<std::int64_t, float>(data, out);
    case DType::kFloat16:
      return ConvertAll<std::uint16_t, float>(data, out, HalfToFloat);
    case DType::kBFloat16:
      return ConvertAll<std::uint16_t, float>(data, out, [](std::uint16_t x) {
        return FromBits(static_cast<std::uint32_t>(x) << 16);
      });
    case DType::kFloat64:
      // Too large for a float becomes infinite, which CheckRange sees.
      return CastAll<double, float>(data, out);
    default:
      out->assign(data.begin(), data.end());
  }
}

std::string BoundsText(const FieldSpec& field) {
  if (field.min && field.max) {
    return absl::StrCat(*field.min, " to ", *field.max);
  }
  if (field.min) return absl::StrCat("at least ", *field.min);
  return absl::StrCat("at most ", *field.max);
}

// The first element outside the field's bounds.
template <typename T>
std::optional<T> FindOutside(const FieldSpec& field, const FieldValue& value) {
  if (!field.min && !field.max) return std::nullopt;
  for (std::int64_t i = 0; i < value.count; ++i) {
    const T x = LoadAt<T>(value.data, static_cast<std::size_t>(i));
    if (field.min && x < static_cast<T>(*field.min)) return x;
    if (field.max && x > static_cast<T>(*field.max)) return x;
  }
  return std::nullopt;
}

std::optional<float> FindNonFinite(const FieldValue& value) {
  for (std::int64_t i = 0; i < value.count; ++i) {
    const float x = LoadFloat(value, i);
    if (!std::isfinite(x)) return x;
  }
  return std::nullopt;
}

absl::Status RangeError(const FieldSpec& field, std::int64_t row,
                        const std::string& got, const std::string& want) {
  return Error(absl::StatusCode::kInvalidArgument, reason::kFieldRange,
               absl::StrCat("input \"", field.name, "\", row ", row, ": got ",
                            got, ", want ", want),
               {{"field", field.name},
                {"row", absl::StrCat(row)},
                {"got", got},
                {"want", want}});
}

}  // namespace

absl::StatusOr<TensorColumn> TensorColumn::Create(const FieldSpec& field,
                                                  const v1::Tensor& tensor) {
  const std::optional<DType> dtype = FromWire(tensor.dtype());
  if (!dtype || !Converts(*dtype, field.dtype)) {
    return FieldError(
        reason::kFieldType, field,
        dtype ? std::string(Name(*dtype))
              : absl::StrCat("data type ", static_cast<int>(tensor.dtype())),
        WantedDType(field.dtype));
  }
  absl::Status status = CheckShape(field, tensor, *dtype);
  if (!status.ok()) return status;
  TensorColumn column(field);
  status = column.SetLengths(tensor);
  if (!status.ok()) return status;
  column.SetValues(tensor);
  return column;
}

absl::Status TensorColumn::SetLengths(const v1::Tensor& tensor) {
  const auto leading = static_cast<std::uint64_t>(tensor.shape(0));
  if (tensor.lengths().empty()) {
    num_rows_ = tensor.shape(0);
    return absl::OkStatus();
  }
  if (field_->required && !field_->is_ragged()) {
    return FieldError(reason::kFieldShape, *field_, "lengths",
                      "none: the field is in every step, in one size");
  }
  num_rows_ = tensor.lengths_size();
  begins_.reserve(static_cast<std::size_t>(num_rows_) + 1);
  begins_.push_back(0);
  for (const std::uint32_t length : tensor.lengths()) {
    if (!field_->is_ragged() && length > 1) {
      return FieldError(reason::kFieldShape, *field_,
                        absl::StrCat("a length of ", length), "0 or 1");
    }
    begins_.push_back(begins_.back() + length);
  }
  if (begins_.back() != leading) {
    return FieldError(reason::kFieldShape, *field_,
                      absl::StrCat("lengths of ", begins_.back(), " in all"),
                      absl::StrCat("the leading size, ", leading));
  }
  return absl::OkStatus();
}

void TensorColumn::SetValues(const v1::Tensor& tensor) {
  const DType dtype = *FromWire(tensor.dtype());
  if (dtype == field_->dtype) {
    data_ = tensor.data().data();
    return;
  }
  if (field_->dtype == DType::kInt64) {
    CastAll<std::int32_t, std::int64_t>(tensor.data(), &converted_);
  } else {
    ToFloats(dtype, tensor.data(), &converted_);
  }
  // Never null: a null pointer would mean an absent value.
  if (converted_.empty()) converted_.resize(1);
  data_ = converted_.data();
}

FieldValue TensorColumn::Value(std::int64_t row) const {
  const auto i = static_cast<std::size_t>(row);
  const std::uint64_t begin = begins_.empty() ? i : begins_[i];
  const std::uint64_t end = begins_.empty() ? i + 1 : begins_[i + 1];
  if (begin == end && !field_->required) return FieldValue{};
  const auto elements = static_cast<std::uint64_t>(field_->num_elements());
  const auto bytes = static_cast<std::uint64_t>(SizeOf(field_->dtype));
  return {data_ + begin * elements * bytes,
          static_cast<std::int64_t>((end - begin) * elements)};
}

absl::Status TensorColumn::CheckRange(std::int64_t row,
                                      NonFinite non_finite) const {
  if (field_->dtype == DType::kBool) return absl::OkStatus();
  const FieldValue value = Value(row);
  if (field_->dtype == DType::kInt64) {
    const auto outside = FindOutside<std::int64_t>(*field_, value);
    if (!outside) return absl::OkStatus();
    return RangeError(*field_, row, absl::StrCat(*outside),
                      BoundsText(*field_));
  }
  if (non_finite == NonFinite::kRefuse) {
    const std::optional<float> found = FindNonFinite(value);
    if (found) {
      return RangeError(*field_, row, absl::StrCat(*found), "a finite number");
    }
  }
  const auto outside = FindOutside<float>(*field_, value);
  if (!outside) return absl::OkStatus();
  return RangeError(*field_, row, absl::StrCat(*outside), BoundsText(*field_));
}

}  // namespace stepd
