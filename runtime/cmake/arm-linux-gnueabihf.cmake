# For Raspberry Pi OS of 32 bits, ARMv7; see aarch64-linux-gnu.cmake. Debian, Ubuntu: apt-get install
# g++-arm-linux-gnueabihf qemu-user
set(TRIPLE arm-linux-gnueabihf)
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR armv7l)
set(CMAKE_C_COMPILER ${TRIPLE}-gcc CACHE STRING "Of C, for the examples")
set(CMAKE_CXX_COMPILER ${TRIPLE}-g++ CACHE STRING "Of C++")
# For compilers that know many CPUs.
set(CMAKE_C_COMPILER_TARGET ${TRIPLE})
set(CMAKE_CXX_COMPILER_TARGET ${TRIPLE})
set(CMAKE_CROSSCOMPILING_EMULATOR "qemu-arm;-L;/usr/${TRIPLE}")
# Libraries are this CPU's; programs that the build runs are this machine's.
set(CMAKE_FIND_ROOT_PATH /usr/${TRIPLE})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE BOTH)
