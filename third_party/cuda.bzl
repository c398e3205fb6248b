"""NVIDIA's compiler and headers, where tools/setup found any."""

_BUILD = """
package(default_visibility = ["//visibility:public"])

# Headers only: the libraries are those that LibTorch's wheel brings.
cc_library(
    name = "headers",
    hdrs = glob(["include/**"], allow_empty = True),
    includes = ["include"],
)
"""

def _cuda_toolkit(ctx):
    root = ctx.os.environ.get("STEPD_CUDA", "")
    has_compiler = root != "" and ctx.path(root + "/bin/nvcc").exists
    if has_compiler:
        ctx.symlink(root + "/include", "include")
    ctx.file("BUILD.bazel", _BUILD)
    ctx.file("defs.bzl", "NVCC = \"%s\"\n" %
                         (root + "/bin/nvcc" if has_compiler else ""))

cuda_toolkit = repository_rule(
    implementation = _cuda_toolkit,
    environ = ["STEPD_CUDA"],
    local = True,
)
