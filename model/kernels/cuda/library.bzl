"""What a binary that may open libstepd_cuda.so is built and tested with."""

_WITH_CUDA = "//model/kernels/cuda:with_cuda"
_LIBRARY = "//model/kernels/cuda:libstepd_cuda.so"

# For `data`: built along with it by --config=cuda.
CUDA_LIBRARY = select({
    _WITH_CUDA: [_LIBRARY],
    "//conditions:default": [],
})

# For `env` of a test: where it finds the library in its runfiles.
CUDA_ENV = select({
    _WITH_CUDA: {"STEPD_CUDA_LIBRARY": "model/kernels/cuda/libstepd_cuda.so"},
    "//conditions:default": {},
})
