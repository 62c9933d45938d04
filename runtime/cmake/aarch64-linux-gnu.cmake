# For 64-bit ARM, on another machine; QEMU runs the tests. Debian, Ubuntu: apt-get install g++-aarch64-linux-gnu
# qemu-user. Use: cmake -S runtime -B build-aarch64 -DCMAKE_TOOLCHAIN_FILE=cmake/aarch64-linux-gnu.cmake
# Clang, too, with GCC's libraries: -DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++
set(TRIPLE aarch64-linux-gnu)
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER ${TRIPLE}-gcc CACHE STRING "Of C, for the examples")
set(CMAKE_CXX_COMPILER ${TRIPLE}-g++ CACHE STRING "Of C++")
# For compilers that know many CPUs.
set(CMAKE_C_COMPILER_TARGET ${TRIPLE})
set(CMAKE_CXX_COMPILER_TARGET ${TRIPLE})
set(CMAKE_CROSSCOMPILING_EMULATOR "qemu-aarch64;-L;/usr/${TRIPLE}")
# Libraries are this CPU's; programs that the build runs are this machine's.
set(CMAKE_FIND_ROOT_PATH /usr/${TRIPLE})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE BOTH)
