/* ipcz: portal-based inter-process communication. The C interface, revision 2024-04.
 *
 * Source and binary compatible with the header of the original implementation. What each call does, in full:
 * docs/spec/api.md; what a driver must do: docs/spec/driver.md.
 *
 * Rules that hold for every call:
 * - Any thread may call anything, also from within a callback, but for Close (and a MergePortals that succeeds), which
 *   must not race other uses of the same handle; and a parcel is used by one thread at a time.
 * - No call waits for another process.
 * - A refused call has no effect: what was handed in is still the caller's.
 * - Zero, stale, made-up and wrong kinds of handles give IPCZ_RESULT_INVALID_ARGUMENT.
 * - Unknown flag bits are ignored. `options` is null unless said otherwise.
 * - Every struct begins with its size in bytes, set by who fills it: a bigger one is a newer one, a smaller one is
 *   refused.
 */
#ifndef IPCZ_INCLUDE_IPCZ_IPCZ_H_
#define IPCZ_INCLUDE_IPCZ_IPCZ_H_

#include <stddef.h>
#include <stdint.h>

#define IPCZ_NO_FLAGS ((uint32_t)0)
#define IPCZ_FLAG_BIT(bit) ((uint32_t)1 << (bit))

/* `value` rounded up to a multiple of `alignment`. */
#define IPCZ_ALIGNED(value, alignment) \
  ((((value) + ((alignment) - 1)) / (alignment)) * (alignment))

/* Goes between `struct` and its tag. */
#if defined(__cplusplus)
#define IPCZ_ALIGN(alignment) alignas(alignment)
#elif defined(__GNUC__)
#define IPCZ_ALIGN(alignment) __attribute__((aligned(alignment)))
#elif defined(_MSC_VER)
#define IPCZ_ALIGN(alignment) __declspec(align(alignment))
#else
#error "ipcz.h does not know how this compiler aligns a struct"
#endif

/* Calling convention. A program may choose another one by defining IPCZ_API_OVERRIDE. */
#if defined(IPCZ_API_OVERRIDE)
#define IPCZ_API IPCZ_API_OVERRIDE
#elif defined(_WIN32)
#define IPCZ_API __cdecl
#else
#define IPCZ_API
#endif

#if defined(__cplusplus)
extern "C" {
#endif

/* ---- Results ------------------------------------------------------------------------------------------------- */

typedef int IpczResult;

#define IPCZ_RESULT_OK ((IpczResult)0)
#define IPCZ_RESULT_CANCELLED ((IpczResult)1)
/* A driver failed in a way that has no other name; or the process was forked. */
#define IPCZ_RESULT_UNKNOWN ((IpczResult)2)
#define IPCZ_RESULT_INVALID_ARGUMENT ((IpczResult)3)
#define IPCZ_RESULT_DEADLINE_EXCEEDED ((IpczResult)4)
/* The peer is closed; or it is, and everything it sent has been read. */
#define IPCZ_RESULT_NOT_FOUND ((IpczResult)5)
#define IPCZ_RESULT_ALREADY_EXISTS ((IpczResult)6)
/* Said by drivers: not over this transport. */
#define IPCZ_RESULT_PERMISSION_DENIED ((IpczResult)7)
/* A limit is reached, memory is short, or what is to be stored does not fit. */
#define IPCZ_RESULT_RESOURCE_EXHAUSTED ((IpczResult)8)
#define IPCZ_RESULT_FAILED_PRECONDITION ((IpczResult)9)
/* Said by drivers: can be sent, but over which transport must be known. */
#define IPCZ_RESULT_ABORTED ((IpczResult)10)
#define IPCZ_RESULT_OUT_OF_RANGE ((IpczResult)11)
#define IPCZ_RESULT_UNIMPLEMENTED ((IpczResult)12)
/* A defect of the library, caught. */
#define IPCZ_RESULT_INTERNAL ((IpczResult)13)
/* Nothing can be read yet. */
#define IPCZ_RESULT_UNAVAILABLE ((IpczResult)14)
#define IPCZ_RESULT_DATA_LOSS ((IpczResult)15)

/* ---- Handles ------------------------------------------------------------------------------------------------- */

/* A node, portal, parcel, box or transport listener. */
typedef uintptr_t IpczHandle;
#define IPCZ_INVALID_HANDLE ((IpczHandle)0)

/* Whatever a driver names its objects by; never zero. */
typedef uintptr_t IpczDriverHandle;
#define IPCZ_INVALID_DRIVER_HANDLE ((IpczDriverHandle)0)

/* A put or get that has begun and not yet ended. */
typedef uintptr_t IpczTransaction;

/* ---- Drivers ------------------------------------------------------------------------------------------------- */

typedef uint32_t IpczTransportActivityFlags;
/* The transport is broken for good. Said once; DEACTIVATED follows. */
#define IPCZ_TRANSPORT_ACTIVITY_ERROR IPCZ_FLAG_BIT(0)
/* The last call for this listener. */
#define IPCZ_TRANSPORT_ACTIVITY_DEACTIVATED IPCZ_FLAG_BIT(1)

/* What a driver may say of a message besides its bytes and handles (a later revision). No alignment is asked for. */
struct IpczTransportActivityOptions {
  size_t size;
  /* An object that is to live as long as the message, and is ipcz's from now on; or zero. */
  IpczDriverHandle envelope;
};

/* One message, or one of the flags above. The handles are ipcz's from now on. Calls for one listener must not overlap.
 * Any answer but OK or UNIMPLEMENTED: the driver delivers nothing more and answers with ERROR.
 * Programs that define IPCZ_ACTIVITY_OPTIONS get the later revision's type of the last parameter. */
#if defined(IPCZ_ACTIVITY_OPTIONS)
typedef IpczResult(IPCZ_API* IpczTransportActivityHandler)(
    IpczHandle listener,
    const void* data,
    size_t num_bytes,
    const IpczDriverHandle* driver_handles,
    size_t num_driver_handles,
    IpczTransportActivityFlags flags,
    const struct IpczTransportActivityOptions* options);
#else
typedef IpczResult(IPCZ_API* IpczTransportActivityHandler)(
    IpczHandle listener,
    const void* data,
    size_t num_bytes,
    const IpczDriverHandle* driver_handles,
    size_t num_driver_handles,
    IpczTransportActivityFlags flags,
    const void* options);
#endif

struct IPCZ_ALIGN(8) IpczSharedMemoryInfo {
  size_t size;
  size_t region_num_bytes;
};

/* What an embedder gives: bytes and objects moved, memory, randomness. Any entry may be called on any thread, and may
 * call any activity handler before it returns. */
struct IPCZ_ALIGN(8) IpczDriver {
  size_t size;

  /* Releases an object of any kind. */
  IpczResult(IPCZ_API* Close)(IpczDriverHandle handle,
                              uint32_t flags,
                              const void* options);

  /* Turns an object into bytes and transmissible handles. Without a transport: ABORTED or RESOURCE_EXHAUSTED if that is
   * possible at all. With too little room: RESOURCE_EXHAUSTED, and how much is needed. OK consumes the object. */
  IpczResult(IPCZ_API* Serialize)(IpczDriverHandle handle,
                                  IpczDriverHandle transport,
                                  uint32_t flags,
                                  const void* options,
                                  volatile void* data,
                                  size_t* num_bytes,
                                  IpczDriverHandle* handles,
                                  size_t* num_handles);

  /* The inverse, at the other end of the transport. */
  IpczResult(IPCZ_API* Deserialize)(const volatile void* data,
                                    size_t num_bytes,
                                    const IpczDriverHandle* driver_handles,
                                    size_t num_driver_handles,
                                    IpczDriverHandle transport,
                                    uint32_t flags,
                                    const void* options,
                                    IpczDriverHandle* handle);

  /* A connected pair; the first will be sent over transport0, the second over transport1. */
  IpczResult(IPCZ_API* CreateTransports)(IpczDriverHandle transport0,
                                         IpczDriverHandle transport1,
                                         uint32_t flags,
                                         const void* options,
                                         IpczDriverHandle* new_transport0,
                                         IpczDriverHandle* new_transport1);

  /* Delivery to the listener begins, with what the peer sent before. */
  IpczResult(IPCZ_API* ActivateTransport)(
      IpczDriverHandle transport,
      IpczHandle listener,
      IpczTransportActivityHandler activity_handler,
      uint32_t flags,
      const void* options);

  /* Asks for the end of it. */
  IpczResult(IPCZ_API* DeactivateTransport)(IpczDriverHandle transport,
                                            uint32_t flags,
                                            const void* options);

  /* One call is one message. Never waits for the peer. The handles are the driver's from now on. */
  IpczResult(IPCZ_API* Transmit)(IpczDriverHandle transport,
                                 const void* data,
                                 size_t num_bytes,
                                 const IpczDriverHandle* driver_handles,
                                 size_t num_driver_handles,
                                 uint32_t flags,
                                 const void* options);

  /* The application rejected a parcel that came over this transport. The one entry that may be null. */
  IpczResult(IPCZ_API* ReportBadTransportActivity)(IpczDriverHandle transport,
                                                   uintptr_t context,
                                                   uint32_t flags,
                                                   const void* options);

  /* Shared memory, filled with zeros. */
  IpczResult(IPCZ_API* AllocateSharedMemory)(size_t num_bytes,
                                             uint32_t flags,
                                             const void* options,
                                             IpczDriverHandle* driver_memory);

  IpczResult(IPCZ_API* GetSharedMemoryInfo)(IpczDriverHandle driver_memory,
                                            uint32_t flags,
                                            const void* options,
                                            struct IpczSharedMemoryInfo* info);

  IpczResult(IPCZ_API* DuplicateSharedMemory)(
      IpczDriverHandle driver_memory,
      uint32_t flags,
      const void* options,
      IpczDriverHandle* new_driver_memory);

  /* The whole of it, to be read and written, aligned to at least 8 bytes, until the mapping is closed. */
  IpczResult(IPCZ_API* MapSharedMemory)(IpczDriverHandle driver_memory,
                                        uint32_t flags,
                                        const void* options,
                                        volatile void** address,
                                        IpczDriverHandle* driver_mapping);

  /* Bytes that nobody can guess. */
  IpczResult(IPCZ_API* GenerateRandomBytes)(size_t num_bytes,
                                            uint32_t flags,
                                            const void* options,
                                            void* buffer);
};

/* ---- Nodes --------------------------------------------------------------------------------------------------- */

typedef uint32_t IpczCreateNodeFlags;
#define IPCZ_CREATE_NODE_AS_BROKER IPCZ_FLAG_BIT(0)

typedef uint32_t IpczMemoryFlags;
/* The node never asks for more shared memory for the data of parcels. */
#define IPCZ_MEMORY_FIXED_PARCEL_CAPACITY ((IpczMemoryFlags)(1 << 0))

typedef uint32_t IpczFeature;
#define IPCZ_FEATURE_MEM_V2 ((IpczFeature)0xA110C002)

struct IPCZ_ALIGN(8) IpczCreateNodeOptions {
  size_t size;
  IpczMemoryFlags memory_flags;
  /* A feature in both lists is disabled. */
  const IpczFeature* enabled_features;
  size_t num_enabled_features;
  const IpczFeature* disabled_features;
  size_t num_disabled_features;
};

typedef uint32_t IpczConnectNodeFlags;
/* The other node is a broker. */
#define IPCZ_CONNECT_NODE_TO_BROKER IPCZ_FLAG_BIT(0)
/* The other node shares its broker with this one. */
#define IPCZ_CONNECT_NODE_INHERIT_BROKER IPCZ_FLAG_BIT(1)
/* This node shares its broker with the other one. */
#define IPCZ_CONNECT_NODE_SHARE_BROKER IPCZ_FLAG_BIT(2)
/* This node's broker allocates its shared memory. */
#define IPCZ_CONNECT_NODE_TO_ALLOCATION_DELEGATE IPCZ_FLAG_BIT(3)

/* ---- Puts and gets ------------------------------------------------------------------------------------------- */

typedef uint32_t IpczBeginPutFlags;
/* Less room than asked for will do. */
#define IPCZ_BEGIN_PUT_ALLOW_PARTIAL IPCZ_FLAG_BIT(0)

typedef uint32_t IpczEndPutFlags;
/* Nothing is sent. */
#define IPCZ_END_PUT_ABORT IPCZ_FLAG_BIT(0)

typedef uint32_t IpczGetFlags;
/* What fits is taken; the rest is lost unless the parcel is asked for. */
#define IPCZ_GET_PARTIAL IPCZ_FLAG_BIT(0)

typedef uint32_t IpczBeginGetFlags;
/* Handles that do not fit stay in the parcel. */
#define IPCZ_BEGIN_GET_PARTIAL IPCZ_FLAG_BIT(0)
/* The parcel leaves its portal's queue at once. */
#define IPCZ_BEGIN_GET_OVERLAPPED IPCZ_FLAG_BIT(1)

typedef uint32_t IpczEndGetFlags;
/* The parcel stays in its portal's queue, but for the handles that were taken. */
#define IPCZ_END_GET_ABORT IPCZ_FLAG_BIT(0)

/* ---- Boxes --------------------------------------------------------------------------------------------------- */

typedef uint32_t IpczBoxType;
#define IPCZ_BOX_TYPE_DRIVER_OBJECT ((IpczBoxType)0)
#define IPCZ_BOX_TYPE_APPLICATION_OBJECT ((IpczBoxType)1)
#define IPCZ_BOX_TYPE_SUBPARCEL ((IpczBoxType)2)

typedef uint32_t IpczUnboxFlags;
/* The box and what is in it stay as they are. */
#define IPCZ_UNBOX_PEEK IPCZ_FLAG_BIT(0)

/* Turns an application's object into bytes and handles, when it leaves its node. With too little room (a null pointer is
 * none): RESOURCE_EXHAUSTED, and how much is needed. */
typedef IpczResult (*IpczApplicationObjectSerializer)(uintptr_t object,
                                                      uint32_t flags,
                                                      const void* options,
                                                      volatile void* data,
                                                      size_t* num_bytes,
                                                      IpczHandle* handles,
                                                      size_t* num_handles);

typedef void (*IpczApplicationObjectDestructor)(uintptr_t object,
                                                uint32_t flags,
                                                const void* options);

struct IPCZ_ALIGN(8) IpczBoxContents {
  size_t size;
  IpczBoxType type;
  union {
    IpczDriverHandle driver_object;
    uintptr_t application_object;
    IpczHandle subparcel;
  } object;
  IpczApplicationObjectSerializer serializer;
  IpczApplicationObjectDestructor destructor;
};

/* ---- Status and traps ---------------------------------------------------------------------------------------- */

typedef uint32_t IpczPortalStatusFlags;
/* The peer is closed, and all it sent has arrived. */
#define IPCZ_PORTAL_STATUS_PEER_CLOSED IPCZ_FLAG_BIT(0)
/* And has been read. */
#define IPCZ_PORTAL_STATUS_DEAD IPCZ_FLAG_BIT(1)

struct IPCZ_ALIGN(8) IpczPortalStatus {
  size_t size;
  IpczPortalStatusFlags flags;
  /* What can be read now. */
  size_t num_local_parcels;
  size_t num_local_bytes;
};

typedef uint32_t IpczTrapConditionFlags;
/* The portal was closed or left this node: always told. */
#define IPCZ_TRAP_REMOVED IPCZ_FLAG_BIT(0)
#define IPCZ_TRAP_PEER_CLOSED IPCZ_FLAG_BIT(1)
#define IPCZ_TRAP_DEAD IPCZ_FLAG_BIT(2)
#define IPCZ_TRAP_ABOVE_MIN_LOCAL_PARCELS IPCZ_FLAG_BIT(3)
#define IPCZ_TRAP_ABOVE_MIN_LOCAL_BYTES IPCZ_FLAG_BIT(4)
/* A parcel has just become readable. */
#define IPCZ_TRAP_NEW_LOCAL_PARCEL IPCZ_FLAG_BIT(7)
/* Said of events that a call of this process caused. */
#define IPCZ_TRAP_WITHIN_API_CALL IPCZ_FLAG_BIT(9)

struct IPCZ_ALIGN(8) IpczTrapConditions {
  size_t size;
  IpczTrapConditionFlags flags;
  size_t min_local_parcels;
  size_t min_local_bytes;
};

/* Valid, as is its status, during the handler's call alone. */
struct IPCZ_ALIGN(8) IpczTrapEvent {
  size_t size;
  uintptr_t context;
  IpczTrapConditionFlags condition_flags;
  const struct IpczPortalStatus* status;
};

typedef void(IPCZ_API* IpczTrapEventHandler)(const struct IpczTrapEvent* event);

/* ---- The interface ------------------------------------------------------------------------------------------- */

struct IPCZ_ALIGN(8) IpczAPI {
  size_t size;

  /* Releases a node, portal, parcel or box. */
  IpczResult(IPCZ_API* Close)(IpczHandle handle,
                              uint32_t flags,
                              const void* options);

  /* The driver's table is copied. */
  IpczResult(IPCZ_API* CreateNode)(const struct IpczDriver* driver,
                                   IpczCreateNodeFlags flags,
                                   const struct IpczCreateNodeOptions* options,
                                   IpczHandle* node);

  /* Connects a node over a transport, which is ipcz's if this succeeds. The portals exist at once. */
  IpczResult(IPCZ_API* ConnectNode)(IpczHandle node,
                                    IpczDriverHandle driver_transport,
                                    size_t num_initial_portals,
                                    IpczConnectNodeFlags flags,
                                    const void* options,
                                    IpczHandle* initial_portals);

  IpczResult(IPCZ_API* OpenPortals)(IpczHandle node,
                                    uint32_t flags,
                                    const void* options,
                                    IpczHandle* portal0,
                                    IpczHandle* portal1);

  /* The peers of two unused portals become each other's. Both handles are gone then. */
  IpczResult(IPCZ_API* MergePortals)(IpczHandle portal0,
                                     IpczHandle portal1,
                                     uint32_t flags,
                                     const void* options);

  IpczResult(IPCZ_API* QueryPortalStatus)(IpczHandle portal,
                                          uint32_t flags,
                                          const void* options,
                                          struct IpczPortalStatus* status);

  IpczResult(IPCZ_API* Put)(IpczHandle portal,
                            const void* data,
                            size_t num_bytes,
                            const IpczHandle* handles,
                            size_t num_handles,
                            uint32_t flags,
                            const void* options);

  /* Room for data of a parcel, in memory that the peer may share. */
  IpczResult(IPCZ_API* BeginPut)(IpczHandle portal,
                                 IpczBeginPutFlags flags,
                                 const void* options,
                                 volatile void** data,
                                 size_t* num_bytes,
                                 IpczTransaction* transaction);

  IpczResult(IPCZ_API* EndPut)(IpczHandle portal,
                               IpczTransaction transaction,
                               size_t num_bytes_produced,
                               const IpczHandle* handles,
                               size_t num_handles,
                               IpczEndPutFlags flags,
                               const void* options);

  /* From a portal or a parcel. In: room; out: what was stored, or is needed. */
  IpczResult(IPCZ_API* Get)(IpczHandle source,
                            IpczGetFlags flags,
                            const void* options,
                            void* data,
                            size_t* num_bytes,
                            IpczHandle* handles,
                            size_t* num_handles,
                            IpczHandle* parcel);

  /* The data where it lies: a hostile peer may change it at any time, so copy before you check. */
  IpczResult(IPCZ_API* BeginGet)(IpczHandle source,
                                 IpczBeginGetFlags flags,
                                 const void* options,
                                 const volatile void** data,
                                 size_t* num_bytes,
                                 IpczHandle* handles,
                                 size_t* num_handles,
                                 IpczTransaction* transaction);

  IpczResult(IPCZ_API* EndGet)(IpczHandle source,
                               IpczTransaction transaction,
                               IpczEndGetFlags flags,
                               const void* options,
                               IpczHandle* parcel);

  /* Calls the handler once, when one of the conditions comes true. FAILED_PRECONDITION: one holds already, and the trap
   * is not installed. */
  IpczResult(IPCZ_API* Trap)(IpczHandle portal,
                             const struct IpczTrapConditions* conditions,
                             IpczTrapEventHandler handler,
                             uintptr_t context,
                             uint32_t flags,
                             const void* options,
                             IpczTrapConditionFlags* satisfied_condition_flags,
                             struct IpczPortalStatus* status);

  /* Tells the driver that a parcel was bad. */
  IpczResult(IPCZ_API* Reject)(IpczHandle parcel,
                               uintptr_t context,
                               uint32_t flags,
                               const void* options);

  /* An object that is to travel in parcels. */
  IpczResult(IPCZ_API* Box)(IpczHandle node,
                            const struct IpczBoxContents* contents,
                            uint32_t flags,
                            const void* options,
                            IpczHandle* handle);

  IpczResult(IPCZ_API* Unbox)(IpczHandle handle,
                              IpczUnboxFlags flags,
                              const void* options,
                              struct IpczBoxContents* contents);
};

/* The type of IpczGetAPI, the one function that the library exports. Fills the table, whose size must be set. */
typedef IpczResult(IPCZ_API* IpczGetAPIFn)(struct IpczAPI* api);

#if defined(__cplusplus)
} /* extern "C" */
#endif

#endif /* IPCZ_INCLUDE_IPCZ_IPCZ_H_ */
