/* For the tests under Wine only: Wine before 9.0 lacks this library of Windows, of which Rust's
   standard library wants one function. */
#include <windows.h>
#include <ntsecapi.h>

BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T size) { return RtlGenRandom(data, (ULONG)size); }
