"""Objects made by nvcc, for GPUs from sm_80 on."""

load("@cuda//:defs.bzl", "NVCC")

# Machine code for A100 and H100/H200, and PTX for what comes after them.
_ARCHITECTURES = [
    "-gencode arch=compute_80,code=sm_80",
    "-gencode arch=compute_90,code=sm_90",
    "-gencode arch=compute_90,code=compute_90",
]

_FLAGS = _ARCHITECTURES + [
    "-ccbin clang++-14",
    "-std=c++17",
    "-O3",
    "-lineinfo",
    "-Werror all-warnings",
    # NVIDIA's headers define static functions that a file may not need.
    "-Xcompiler -fPIC,-Wall,-Wno-unused-function",
    "-I.",
]

def cuda_object(name, src, hdrs):
    """Compiles `src` into NAME.pic.o; `hdrs` are all it includes."""
    compile = " ".join([NVCC] + _FLAGS + ["-c $(location %s) -o $@" % src])
    missing = "echo 'no nvcc here: tools/setup --cuda installs one' >&2; exit 1"
    native.genrule(
        name = name,
        srcs = [src] + hdrs,
        outs = [name + ".pic.o"],
        cmd = compile if NVCC else missing,
        tags = ["manual"],
    )
