/* Drivers for C and C++ programs: tables for IpczAPI.CreateNode, each the same for the whole program. */
#ifndef IPCZ_INCLUDE_IPCZ_DRIVERS_H_
#define IPCZ_INCLUDE_IPCZ_DRIVERS_H_

#include "ipcz/ipcz.h"

#if defined(__cplusplus)
extern "C" {
#endif

/* Joins nodes of one process, synchronously: everything happens on the caller's stack. CreateTransports(0, 0, ...) makes
 * a pair of transports for ConnectNode. */
const struct IpczDriver* IpczInProcessDriver(void);

/* The same, but otherwise: calls return before the other side hears of them, which it does on a thread of the driver's;
 * objects go only over transports that have a broker at one end, so that all others are relayed. */
#define IPCZ_IN_PROCESS_ASYNCHRONOUS IPCZ_FLAG_BIT(0)
#define IPCZ_IN_PROCESS_BROKERING IPCZ_FLAG_BIT(1)
const struct IpczDriver* IpczInProcessDriverWith(uint32_t flags);

/* Joins processes by Unix stream sockets, descriptors and memfds (Linux). A program that starts another one gives it
 * one end of a pair; any other connected Unix stream socket will do as well. */
const struct IpczDriver* IpczUnixDriver(void);

/* A connected pair of sockets that are closed on exec. */
IpczResult IpczUnixSocketPair(int ends[2]);

/* A transport over a socket, for ConnectNode. The socket is the driver's if this succeeds. */
IpczResult IpczUnixTransport(int socket, IpczDriverHandle* transport);

/* An object that holds any descriptor, to be boxed. The descriptor is the driver's if this succeeds. */
IpczResult IpczUnixFile(int fd, IpczDriverHandle* file);

/* Takes the descriptor out of such an object, here or where it arrived; the object is gone then. */
IpczResult IpczUnixTakeFile(IpczDriverHandle file, int* fd);

#if defined(__cplusplus)
} /* extern "C" */
#endif

#endif /* IPCZ_INCLUDE_IPCZ_DRIVERS_H_ */
