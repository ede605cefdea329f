/* The declaration of the library's one function, for programs that link with it. */
#ifndef IPCZ_INCLUDE_IPCZ_GET_API_H_
#define IPCZ_INCLUDE_IPCZ_GET_API_H_

#include "ipcz/ipcz.h"

#if defined(__cplusplus)
extern "C"
#endif
IpczResult IPCZ_API IpczGetAPI(struct IpczAPI* api);

#endif /* IPCZ_INCLUDE_IPCZ_GET_API_H_ */
