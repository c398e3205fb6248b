"""Repositories made of files inside Python wheels (see tools/setup)."""

_LIBTORCH_BUILD = """
package(default_visibility = ["//visibility:public"])

# libtorch_cpu alone: the CUDA libraries are opened at run time (`device: cuda`).
cc_library(
    name = "libtorch",
    hdrs = glob(["include/**/*.h", "include/**/*.hpp"]),
    includes = ["include"],
    linkopts = [
        "-L{lib}",
        "-Wl,-rpath,{lib}",
        "-Wl,--no-as-needed",
        "-ltorch_cpu",
        "-lc10",
        "-Wl,--as-needed",
    ],
)

# For libraries that are opened where NVIDIA's are: what these lack here is
# found when they are.
cc_library(
    name = "libtorch_cuda",
    linkopts = [
        "-L{lib}",
        "-Wl,-rpath,{lib}",
        "-Wl,--no-as-needed",
        "-ltorch_cuda",
        "-lc10_cuda",
        "-Wl,--as-needed",
    ],
)
"""

def _required(ctx, name):
    value = ctx.os.environ.get(name)
    if not value:
        fail(name + " is not set: run tools/setup first (it writes .stepd.bazelrc)")
    return value

def _libtorch_wheel(ctx):
    root = _required(ctx, "STEPD_TORCH")

    # The wheel also ships its own fmt, protobuf and pybind11 headers, which
    # would shadow the system's: expose only LibTorch's.
    for folder in ["ATen", "c10", "caffe2", "torch"]:
        ctx.symlink(root + "/include/" + folder, "include/" + folder)
    ctx.file("BUILD.bazel", _LIBTORCH_BUILD.format(lib = root + "/lib"))

libtorch_wheel = repository_rule(
    implementation = _libtorch_wheel,
    environ = ["STEPD_TORCH"],
    local = True,
)

_GOOGLEAPIS_BUILD = """
package(default_visibility = ["//visibility:public"])

exports_files(["google/rpc/status.proto"])

_PROTOS = ["status", "error_details"]

genrule(
    name = "rpc_cc",
    srcs = ["google/rpc/%s.proto" % p for p in _PROTOS],
    outs = ["gen/google/rpc/%s.pb.%s" % (p, e) for p in _PROTOS for e in ["h", "cc"]],
    cmd = "root=$$(dirname $$(dirname $$(dirname $(location google/rpc/status.proto)))) && " +
          "protoc -I$$root -I/usr/include --cpp_out=$(RULEDIR)/gen $(SRCS)",
)

cc_library(
    name = "rpc_cc_proto",
    srcs = ["gen/google/rpc/%s.pb.cc" % p for p in _PROTOS],
    hdrs = ["gen/google/rpc/%s.pb.h" % p for p in _PROTOS],
    includes = ["gen"],
    deps = ["@system//:protobuf"],
)
"""

def _googleapis_wheel(ctx):
    site = _required(ctx, "STEPD_SITE_PACKAGES")
    for proto in ["status", "error_details"]:
        ctx.symlink(site + "/google/rpc/" + proto + ".proto", "google/rpc/" + proto + ".proto")
    ctx.file("BUILD.bazel", _GOOGLEAPIS_BUILD)

googleapis_wheel = repository_rule(
    implementation = _googleapis_wheel,
    environ = ["STEPD_SITE_PACKAGES"],
    local = True,
)
