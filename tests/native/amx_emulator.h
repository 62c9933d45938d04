// AMX int8 in software: runs AMX machine code on a CPU that lacks it.
//
// The instructions raise SIGILL there; the handler decodes and executes them with a tile state for every thread, as the
// Intel SDM, volume 2, describes them. What real hardware would fault on (an unconfigured tile, shapes that do not fit)
// and what the emulator does not know ends the program with a sentence.
#ifndef BMX_TESTS_AMX_EMULATOR_H_
#define BMX_TESTS_AMX_EMULATOR_H_

#include <cstdint>

// Takes SIGILL, for the whole process.
void install_amx_emulator();

// Instructions emulated so far, by the calling thread.
int64_t amx_instructions();

#endif  // BMX_TESTS_AMX_EMULATOR_H_
