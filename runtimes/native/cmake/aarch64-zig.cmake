# Zig's C and C++ compiler from the wheel `ziglang`, where no cross compiler is installed:
#
#   pip install ziglang==0.17.1
#   cmake -S runtimes/native -B build/native/zig
#     -DCMAKE_TOOLCHAIN_FILE=runtimes/native/cmake/aarch64-zig.cmake
#
# Programs need glibc 2.28, as the runtimes' wheels do. -DEDGEVIT_PYTHON names the Python that has the
# wheel. The core and the runners of ONNX Runtime and LiteRT are built; ExecuTorch's cannot be, whose
# libraries use GNU's C++ library, and Zig has LLVM's.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(EDGEVIT_PYTHON "python3" CACHE STRING "A Python with the wheel ziglang")
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES EDGEVIT_PYTHON)
set(zig_target -target aarch64-linux-gnu.2.28)
set(CMAKE_C_COMPILER ${EDGEVIT_PYTHON} -m ziglang cc ${zig_target})
set(CMAKE_CXX_COMPILER ${EDGEVIT_PYTHON} -m ziglang c++ ${zig_target})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
