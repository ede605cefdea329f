/* What a C program can rely on, by the numbers of docs/spec/api.md 17. C99 and C++11. */
#define _POSIX_C_SOURCE 200809L
#include <sys/wait.h>
#include <unistd.h>

#include "driver.h"

static struct IpczAPI ipcz;
static int failures;
static int number;

#define CHECK(condition)                                                                     \
  do {                                                                                       \
    if (!(condition)) {                                                                      \
      printf("behaviour %d: line %d: not so: %s\n", number, __LINE__, #condition);            \
      failures++;                                                                            \
    }                                                                                        \
  } while (0)
#define IS(result, expression)                                                               \
  do {                                                                                       \
    IpczResult got_ = (expression);                                                          \
    if (got_ != IPCZ_RESULT_##result) {                                                      \
      printf("behaviour %d: line %d: %d, not " #result ": %s\n", number, __LINE__, got_, #expression); \
      failures++;                                                                            \
    }                                                                                        \
  } while (0)

static struct IpczDriver table;

/* A broker and a client, connected by `n` portals. */
struct Pair {
  IpczHandle broker, node;
  IpczHandle near[12], far[12];
};

static struct Pair connected(size_t n) {
  struct Pair p;
  IpczDriverHandle a, b;
  IS(OK, ipcz.CreateNode(&table, IPCZ_CREATE_NODE_AS_BROKER, NULL, &p.broker));
  IS(OK, ipcz.CreateNode(&table, IPCZ_NO_FLAGS, NULL, &p.node));
  driver_create_transports(0, 0, 0, NULL, &a, &b);
  IS(OK, ipcz.ConnectNode(p.broker, a, n, IPCZ_NO_FLAGS, NULL, p.near));
  IS(OK, ipcz.ConnectNode(p.node, b, n, IPCZ_CONNECT_NODE_TO_BROKER, NULL, p.far));
  return p;
}

static void disconnect(struct Pair p, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    ipcz.Close(p.near[i], 0, NULL);
    ipcz.Close(p.far[i], 0, NULL);
  }
  IS(OK, ipcz.Close(p.broker, 0, NULL));
  IS(OK, ipcz.Close(p.node, 0, NULL));
}

static IpczHandle lone_node(void) {
  IpczHandle node = 0;
  IS(OK, ipcz.CreateNode(&table, IPCZ_NO_FLAGS, NULL, &node));
  return node;
}

static struct IpczPortalStatus status_of(IpczHandle portal) {
  struct IpczPortalStatus status;
  memset(&status, 0, sizeof status);
  status.size = sizeof status;
  IS(OK, ipcz.QueryPortalStatus(portal, 0, NULL, &status));
  return status;
}

static IpczResult put(IpczHandle portal, const char* text) {
  return ipcz.Put(portal, text, strlen(text), NULL, 0, 0, NULL);
}

/* Whether the next parcel of a source says this and has no handles. */
static int says(IpczHandle source, const char* text) {
  char data[64];
  size_t bytes = sizeof data;
  return ipcz.Get(source, 0, NULL, data, &bytes, NULL, NULL, NULL) == IPCZ_RESULT_OK && bytes == strlen(text) &&
         memcmp(data, text, bytes) == 0;
}

/* Events of traps, as they came. */
static struct IpczTrapEvent events[64];
static struct IpczPortalStatus statuses[64];
static int num_events;

static void IPCZ_API fired(const struct IpczTrapEvent* event) {
  events[num_events] = *event;
  statuses[num_events] = *event->status;
  num_events++;
}

static IpczResult trap(IpczHandle portal, IpczTrapConditionFlags flags, size_t level, uintptr_t context) {
  struct IpczTrapConditions conditions;
  memset(&conditions, 0, sizeof conditions);
  conditions.size = sizeof conditions;
  conditions.flags = flags;
  conditions.min_local_parcels = level;
  conditions.min_local_bytes = level;
  return ipcz.Trap(portal, &conditions, fired, context, 0, NULL, NULL, NULL);
}

static void loading(void) {
  unsigned char bytes[200];
  size_t size;
  size_t sizes[] = {0, 8, 128, 135};
  struct IpczAPI* api = (struct IpczAPI*)(void*)bytes;
  number = 1;
  IS(INVALID_ARGUMENT, IpczGetAPI(NULL));
  number = 2;
  for (size_t i = 0; i < 4; ++i) {
    memset(bytes, 0xAA, sizeof bytes);
    memcpy(bytes, &sizes[i], sizeof size);
    IS(INVALID_ARGUMENT, IpczGetAPI(api));
    for (size_t k = sizeof size; k < sizeof bytes; ++k) CHECK(bytes[k] == 0xAA);
  }
  number = 4;
  memset(bytes, 0xAA, sizeof bytes);
  size = sizeof bytes;
  memcpy(bytes, &size, sizeof size);
  IS(OK, IpczGetAPI(api));
  memcpy(&size, bytes, sizeof size);
  CHECK(size == 136);
  for (size_t k = 136; k < sizeof bytes; ++k) CHECK(bytes[k] == 0xAA);
  number = 3;
  ipcz.size = sizeof ipcz;
  IS(OK, IpczGetAPI(&ipcz));
  CHECK(ipcz.size == 136);
  for (size_t at = 8; at < 136; at += 8) {
    void* entry;
    memcpy(&entry, (char*)&ipcz + at, sizeof entry);
    CHECK(entry != NULL);
  }
  number = 5;
  IS(INVALID_ARGUMENT, ipcz.Close(0, 0, NULL));
}

static void closing(void) {
  IpczHandle node = lone_node(), a, b, c, d;
  IpczTransaction transaction;
  const volatile void* data;
  size_t bytes = 4;
  volatile void* room;
  number = 6;
  IS(OK, ipcz.OpenPortals(node, 0, NULL, &a, &b));
  IS(OK, ipcz.Close(a, 0xffff, &node));
  IS(INVALID_ARGUMENT, ipcz.Close(a, 0, NULL));
  number = 8;
  IS(OK, ipcz.Close(b, 0, NULL));
  number = 9;
  IS(OK, ipcz.OpenPortals(node, 0, NULL, &a, &b));
  IS(OK, put(a, "x"));
  IS(OK, ipcz.BeginPut(b, 0, NULL, &room, &bytes, &transaction));
  IS(OK, ipcz.BeginGet(b, 0, NULL, &data, &bytes, NULL, NULL, &transaction));
  IS(OK, ipcz.Close(b, 0, NULL));
  CHECK(status_of(a).flags == (IPCZ_PORTAL_STATUS_PEER_CLOSED | IPCZ_PORTAL_STATUS_DEAD));
  IS(OK, ipcz.Close(a, 0, NULL));
  number = 10;
  IS(OK, ipcz.OpenPortals(node, 0, NULL, &a, &b));
  IS(OK, ipcz.OpenPortals(node, 0, NULL, &c, &d));
  IS(OK, ipcz.Put(a, NULL, 0, &c, 1, 0, NULL));
  num_events = 0;
  IS(OK, trap(d, IPCZ_TRAP_DEAD, 0, 10));
  IS(OK, ipcz.Close(b, 0, NULL));
  CHECK(num_events == 1 && events[0].condition_flags == (IPCZ_TRAP_DEAD | IPCZ_TRAP_WITHIN_API_CALL));
  CHECK(status_of(d).flags == (IPCZ_PORTAL_STATUS_PEER_CLOSED | IPCZ_PORTAL_STATUS_DEAD));
  IS(OK, ipcz.Close(a, 0, NULL));
  IS(OK, ipcz.Close(d, 0, NULL));
  IS(OK, ipcz.Close(node, 0, NULL));
}

static void listeners(void) {
  struct Pair p = connected(1);
  IpczHandle listener = driver_seen.last_listener;
  struct IpczPortalStatus status;
  number = 7;
  status.size = sizeof status;
  CHECK(listener != 0);
  IS(INVALID_ARGUMENT, ipcz.Close(listener, 0, NULL));
  IS(INVALID_ARGUMENT, ipcz.Put(p.near[0], NULL, 0, &listener, 1, 0, NULL));
  IS(INVALID_ARGUMENT, ipcz.QueryPortalStatus(listener, 0, NULL, &status));
  IS(INVALID_ARGUMENT, driver_seen.last_handler(0, NULL, 0, NULL, 0, 0, NULL));
  IS(INVALID_ARGUMENT, driver_seen.last_handler(p.near[0], NULL, 0, NULL, 0, 0, NULL));
  IS(OK, put(p.near[0], "still there"));
  CHECK(says(p.far[0], "still there"));
  disconnect(p, 1);
  IS(INVALID_ARGUMENT, driver_seen.last_handler(listener, NULL, 0, NULL, 0, 0, NULL));
}

static void nodes(void) {
  struct IpczDriver spoilt;
  struct IpczCreateNodeOptions options;
  IpczHandle node = 0, portals[12];
  IpczDriverHandle a, b;
  IpczFeature features[] = {IPCZ_FEATURE_MEM_V2, 77};
  long before;
  number = 13;
  IS(INVALID_ARGUMENT, ipcz.CreateNode(NULL, 0, NULL, &node));
  IS(INVALID_ARGUMENT, ipcz.CreateNode(&table, 0, NULL, NULL));
  number = 14;
  spoilt = table;
  spoilt.size = 111;
  IS(INVALID_ARGUMENT, ipcz.CreateNode(&spoilt, 0, NULL, &node));
  number = 15;
  for (size_t at = 8; at < sizeof spoilt; at += 8) {
    spoilt = table;
    memset((char*)&spoilt + at, 0, 8);
    if (at == offsetof(struct IpczDriver, ReportBadTransportActivity)) {
      IS(OK, ipcz.CreateNode(&spoilt, 0, NULL, &node));
      IS(OK, ipcz.Close(node, 0, NULL));
    } else {
      IS(INVALID_ARGUMENT, ipcz.CreateNode(&spoilt, 0, NULL, &node));
    }
  }
  number = 16;
  memset(&options, 0, sizeof options);
  options.size = 47;
  IS(INVALID_ARGUMENT, ipcz.CreateNode(&table, 0, &options, &node));
  number = 17;
  options.size = sizeof options;
  options.memory_flags = 0xfffe;
  options.enabled_features = features;
  options.num_enabled_features = 2;
  options.disabled_features = features;
  options.num_disabled_features = 1;
  IS(OK, ipcz.CreateNode(&table, 0xfffe, &options, &node));
  IS(OK, ipcz.Close(node, 0, NULL));
  number = 19;
  before = driver_seen.randoms;
  node = lone_node();
  CHECK(driver_seen.randoms == before);
  IS(OK, ipcz.Close(node, 0, NULL));
  IS(OK, ipcz.CreateNode(&table, IPCZ_CREATE_NODE_AS_BROKER, NULL, &node));
  CHECK(driver_seen.randoms == before + 1);
  number = 20;
  driver_create_transports(0, 0, 0, NULL, &a, &b);
  IS(INVALID_ARGUMENT, ipcz.ConnectNode(0, a, 1, 0, NULL, portals));
  IS(INVALID_ARGUMENT, ipcz.ConnectNode(node, 0, 1, 0, NULL, portals));
  IS(INVALID_ARGUMENT, ipcz.ConnectNode(node, a, 0, 0, NULL, portals));
  IS(INVALID_ARGUMENT, ipcz.ConnectNode(node, a, 1, 0, NULL, NULL));
  number = 21;
  IS(OUT_OF_RANGE, ipcz.ConnectNode(node, a, 13, 0, NULL, portals));
  IS(INVALID_ARGUMENT, ipcz.ConnectNode(0, a, 13, 0, NULL, portals));
  number = 24;
  before = driver_seen.activations;
  driver_seen.fail_allocate = 1;
  IS(RESOURCE_EXHAUSTED, ipcz.ConnectNode(node, a, 1, 0, NULL, portals));
  driver_seen.fail_allocate = 0;
  CHECK(driver_seen.activations == before);
  number = 25;
  before = driver_seen.deactivations;
  driver_seen.fail_activate = 1;
  IS(UNKNOWN, ipcz.ConnectNode(node, a, 1, 0, NULL, portals));
  driver_seen.fail_activate = 0;
  CHECK(driver_seen.deactivations == before + 1);
  driver_close(a, 0, NULL);
  driver_close(b, 0, NULL);
  number = 26;
  driver_create_transports(0, 0, 0, NULL, &a, &b);
  driver_seen.fail_transmit = 1;
  IS(UNKNOWN, ipcz.ConnectNode(node, a, 1, 0, NULL, portals));
  driver_seen.fail_transmit = 0;
  driver_close(a, 0, NULL);
  driver_close(b, 0, NULL);
  number = 0;
  driver_seen.fail_random = 1;
  IS(UNIMPLEMENTED, ipcz.CreateNode(&table, IPCZ_CREATE_NODE_AS_BROKER, NULL, portals));
  driver_seen.fail_random = 0;
  IS(OK, ipcz.Close(node, 0, NULL));
}

/* Puts and gets over a link as well as without one. */
static void parcels(IpczHandle a, IpczHandle b, IpczHandle node) {
  IpczHandle c, d, got[4], parcel, again;
  IpczTransaction one, two;
  const volatile void* data = NULL;
  volatile void* room = NULL;
  char text[64];
  size_t bytes, count;
  IS(OK, ipcz.OpenPortals(node, 0, NULL, &c, &d));
  number = 63;
  IS(INVALID_ARGUMENT, ipcz.Put(a, NULL, 0, &a, 1, 0, NULL));
  number = 65;
  got[0] = c;
  got[1] = 0;
  IS(INVALID_ARGUMENT, ipcz.Put(a, NULL, 0, got, 2, 0, NULL));
  IS(INVALID_ARGUMENT, ipcz.Put(a, NULL, 0, NULL, 2, 0, NULL));
  IS(INVALID_ARGUMENT, ipcz.Put(a, NULL, 2, NULL, 0, 0, NULL));
  got[1] = c;
  IS(INVALID_ARGUMENT, ipcz.Put(a, NULL, 0, got, 2, 0, NULL));
  IS(OK, put(c, "usable"));
  CHECK(says(d, "usable"));
  number = 66;
  IS(OK, ipcz.Put(a, "flags", 5, NULL, 0, 0xffff, &node));
  CHECK(says(b, "flags"));
  number = 69;
  IS(OK, ipcz.Put(a, NULL, 0, NULL, 0, 0, NULL));
  IS(OK, ipcz.Get(b, 0, NULL, NULL, NULL, NULL, NULL, NULL));
  number = 70;
  IS(INVALID_ARGUMENT, put(node, "x"));
  IS(INVALID_ARGUMENT, put(0, "x"));
  number = 81;
  IS(INVALID_ARGUMENT, ipcz.BeginPut(0, 0, NULL, NULL, NULL, &one));
  IS(INVALID_ARGUMENT, ipcz.BeginPut(a, 0, NULL, NULL, NULL, NULL));
  number = 82;
  room = text;
  IS(OK, ipcz.BeginPut(a, 0, NULL, &room, NULL, &one));
  CHECK(one != 0 && room == NULL);
  IS(OK, ipcz.EndPut(a, one, 0, NULL, 0, 0, NULL));
  IS(OK, ipcz.Get(b, 0, NULL, NULL, NULL, NULL, NULL, NULL));
  number = 84;
  bytes = 3000000;
  IS(OK, ipcz.BeginPut(a, 0, NULL, &room, &bytes, &one));
  CHECK(bytes == 3000000 && room != NULL);
  memset((void*)(uintptr_t)room, 7, bytes);
  number = 88;
  IS(INVALID_ARGUMENT, ipcz.EndPut(0, one, 1, NULL, 0, 0, NULL));
  IS(INVALID_ARGUMENT, ipcz.EndPut(a, 0, 1, NULL, 0, 0, NULL));
  IS(INVALID_ARGUMENT, ipcz.EndPut(a, one, 1, NULL, 1, 0, NULL));
  IS(INVALID_ARGUMENT, ipcz.EndPut(a, one, bytes + 1, NULL, 0, 0, NULL));
  got[0] = 0;
  IS(INVALID_ARGUMENT, ipcz.EndPut(a, one, 1, got, 1, 0, NULL));
  number = 89;
  IS(INVALID_ARGUMENT, ipcz.EndPut(a, one, 1, &a, 1, 0, NULL));
  number = 90;
  IS(INVALID_ARGUMENT, ipcz.EndPut(c, one, 1, NULL, 0, 0, NULL));
  number = 94;
  IS(OK, ipcz.EndPut(a, one, 3, &c, 1, 0, NULL));
  number = 93;
  IS(INVALID_ARGUMENT, ipcz.EndPut(a, one, 3, NULL, 0, 0, NULL));
  number = 100;
  bytes = count = 0;
  IS(RESOURCE_EXHAUSTED, ipcz.Get(b, 0, NULL, NULL, &bytes, NULL, &count, NULL));
  CHECK(bytes == 3 && count == 1);
  number = 103;
  IS(INVALID_ARGUMENT, ipcz.Get(b, 0, NULL, NULL, &bytes, NULL, NULL, NULL));
  IS(INVALID_ARGUMENT, ipcz.Get(b, 0, NULL, NULL, NULL, NULL, &count, NULL));
  number = 105;
  bytes = 2;
  count = 0;
  IS(OK, ipcz.Get(b, IPCZ_GET_PARTIAL, NULL, text, &bytes, NULL, &count, &parcel));
  CHECK(bytes == 2 && count == 0 && text[0] == 7 && text[1] == 7 && parcel != 0);
  number = 108;
  bytes = sizeof text;
  count = 4;
  IS(OK, ipcz.Get(parcel, 0, NULL, text, &bytes, got, &count, &again));
  CHECK(bytes == 3 && count == 1);
  c = got[0];
  number = 109;
  bytes = sizeof text;
  count = 4;
  IS(OK, ipcz.Get(again, 0, NULL, text, &bytes, got, &count, NULL));
  CHECK(bytes == 3 && count == 0);
  IS(OK, ipcz.Close(parcel, 0, NULL));
  IS(OK, ipcz.Close(again, 0, NULL));
  IS(INVALID_ARGUMENT, ipcz.Close(again, 0, NULL));
  IS(OK, put(d, "through the moved one"));
  CHECK(says(c, "through the moved one"));
  number = 91;
  bytes = 4;
  IS(OK, ipcz.BeginPut(a, 0, NULL, &room, &bytes, &one));
  number = 92;
  IS(INVALID_ARGUMENT, ipcz.EndPut(a, one, 99, NULL, 1, IPCZ_END_PUT_ABORT, NULL));
  number = 91;
  got[0] = 12345;
  IS(OK, ipcz.EndPut(a, one, 99, got, 1, IPCZ_END_PUT_ABORT, NULL));
  number = 98;
  bytes = 5;
  IS(UNAVAILABLE, ipcz.Get(b, 0, NULL, NULL, &bytes, NULL, NULL, NULL));
  number = 87;
  bytes = 1;
  IS(OK, ipcz.BeginPut(a, 0, NULL, &room, &bytes, &one));
  *(volatile char*)room = '1';
  IS(OK, ipcz.BeginPut(a, 0, NULL, &room, &bytes, &two));
  *(volatile char*)room = '2';
  IS(OK, ipcz.EndPut(a, two, 1, NULL, 0, 0, NULL));
  IS(OK, ipcz.EndPut(a, one, 1, NULL, 0, 0, NULL));
  CHECK(says(b, "2") && says(b, "1"));
  number = 114;
  IS(INVALID_ARGUMENT, ipcz.BeginGet(b, 0, NULL, &data, &bytes, NULL, NULL, NULL));
  count = 1;
  IS(INVALID_ARGUMENT, ipcz.BeginGet(b, 0, NULL, &data, &bytes, NULL, &count, &one));
  number = 115;
  IS(UNAVAILABLE, ipcz.BeginGet(b, 0, NULL, &data, &bytes, NULL, NULL, &one));
  number = 117;
  IS(OK, ipcz.Put(a, "abcde", 5, &c, 1, 0, NULL));
  bytes = 99;
  data = NULL;
  count = 0;
  IS(RESOURCE_EXHAUSTED, ipcz.BeginGet(b, 0, NULL, &data, &bytes, NULL, &count, &one));
  CHECK(count == 1 && bytes == 99 && data == NULL);
  number = 121;
  count = 0;
  IS(OK, ipcz.BeginGet(b, IPCZ_BEGIN_GET_PARTIAL, NULL, &data, &bytes, NULL, &count, &one));
  CHECK(count == 0 && bytes == 5 && memcmp((const void*)(uintptr_t)data, "abcde", 5) == 0);
  number = 118;
  IS(ALREADY_EXISTS, ipcz.BeginGet(b, 0, NULL, &data, &bytes, NULL, NULL, &two));
  IS(ALREADY_EXISTS, ipcz.BeginGet(b, IPCZ_BEGIN_GET_OVERLAPPED, NULL, &data, &bytes, NULL, NULL, &two));
  number = 125;
  parcel = 77;
  IS(OK, ipcz.EndGet(b, one, IPCZ_END_GET_ABORT, NULL, &parcel));
  CHECK(parcel == 77);
  number = 124;
  IS(INVALID_ARGUMENT, ipcz.EndGet(b, one, 0, NULL, NULL));
  IS(INVALID_ARGUMENT, ipcz.EndGet(b, 0, 0, NULL, NULL));
  number = 126;
  IS(OK, ipcz.BeginGet(b, IPCZ_BEGIN_GET_PARTIAL, NULL, &data, &bytes, NULL, NULL, &one));
  IS(OK, ipcz.EndGet(b, one, 0, NULL, &parcel));
  number = 117;
  bytes = 99;
  count = 0;
  IS(RESOURCE_EXHAUSTED, ipcz.BeginGet(parcel, 0, NULL, &data, &bytes, NULL, &count, &one));
  CHECK(count == 1 && bytes == 5 && memcmp((const void*)(uintptr_t)data, "abcde", 5) == 0);
  number = 131;
  count = 4;
  IS(INVALID_ARGUMENT, ipcz.BeginGet(parcel, IPCZ_BEGIN_GET_OVERLAPPED, NULL, &data, &bytes, got, &count, &one));
  number = 132;
  count = 4;
  IS(OK, ipcz.BeginGet(parcel, 0, NULL, &data, &bytes, got, &count, &one));
  CHECK(count == 1 && bytes == 5);
  IS(ALREADY_EXISTS, ipcz.BeginGet(parcel, 0, NULL, &data, &bytes, NULL, NULL, &two));
  IS(OK, ipcz.EndGet(parcel, one, IPCZ_END_GET_ABORT, NULL, &again));
  IS(OK, ipcz.Close(again, 0, NULL));
  IS(OK, ipcz.Close(parcel, 0, NULL));
  IS(OK, ipcz.Close(got[0], 0, NULL));
  IS(OK, ipcz.Close(d, 0, NULL));
  number = 112;
  IS(INVALID_ARGUMENT, ipcz.Get(node, 0, NULL, NULL, NULL, NULL, NULL, NULL));
}

static void traps(IpczHandle a, IpczHandle b) {
  struct IpczTrapConditions conditions;
  struct IpczPortalStatus status;
  IpczTrapConditionFlags satisfied = 0;
  char data[8];
  size_t bytes;
  memset(&conditions, 0, sizeof conditions);
  num_events = 0;
  number = 136;
  conditions.size = 31;
  IS(INVALID_ARGUMENT, ipcz.Trap(b, &conditions, fired, 0, 0, NULL, NULL, NULL));
  conditions.size = sizeof conditions;
  IS(INVALID_ARGUMENT, ipcz.Trap(b, NULL, fired, 0, 0, NULL, NULL, NULL));
  IS(INVALID_ARGUMENT, ipcz.Trap(b, &conditions, NULL, 0, 0, NULL, NULL, NULL));
  IS(INVALID_ARGUMENT, ipcz.Trap(0, &conditions, fired, 0, 0, NULL, NULL, NULL));
  status.size = 31;
  IS(INVALID_ARGUMENT, ipcz.Trap(b, &conditions, fired, 0, 0, NULL, NULL, &status));
  number = 140;
  IS(OK, trap(b, IPCZ_TRAP_ABOVE_MIN_LOCAL_PARCELS, 2, 1));
  IS(OK, put(a, "1"));
  IS(OK, put(a, "2"));
  CHECK(num_events == 0);
  IS(OK, put(a, "3"));
  CHECK(num_events == 1 && events[0].context == 1 && events[0].size == 32 && statuses[0].num_local_parcels == 3);
  CHECK((events[0].condition_flags & ~IPCZ_TRAP_WITHIN_API_CALL) == IPCZ_TRAP_ABOVE_MIN_LOCAL_PARCELS);
  number = 138;
  conditions.flags = IPCZ_TRAP_ABOVE_MIN_LOCAL_PARCELS | IPCZ_TRAP_ABOVE_MIN_LOCAL_BYTES | IPCZ_TRAP_DEAD;
  status.size = 100;
  IS(FAILED_PRECONDITION, ipcz.Trap(b, &conditions, fired, 0, 0, NULL, &satisfied, &status));
  CHECK(satisfied == (IPCZ_TRAP_ABOVE_MIN_LOCAL_PARCELS | IPCZ_TRAP_ABOVE_MIN_LOCAL_BYTES));
  CHECK(status.size == 32 && status.num_local_parcels == 3 && status.num_local_bytes == 3 && status.flags == 0);
  number = 139;
  num_events = 0;
  IS(OK, trap(b, IPCZ_TRAP_NEW_LOCAL_PARCEL, 0, 2));
  IS(OK, put(a, "4"));
  CHECK(num_events == 1 && (events[0].condition_flags & IPCZ_TRAP_NEW_LOCAL_PARCEL));
  number = 145;
  IS(OK, put(a, "5"));
  CHECK(num_events == 1);
  CHECK(says(b, "1") && says(b, "2") && says(b, "3") && says(b, "4") && says(b, "5"));
  number = 152;
  num_events = 0;
  IS(OK, put(a, "last"));
  IS(OK, trap(b, IPCZ_TRAP_PEER_CLOSED, 0, 3));
  IS(OK, trap(b, IPCZ_TRAP_DEAD, 0, 4));
  IS(OK, ipcz.Close(a, 0, NULL));
  CHECK(num_events == 1 && events[0].context == 3 && statuses[0].num_local_parcels == 1);
  number = 113;
  bytes = sizeof data;
  IS(OK, ipcz.Get(b, 0, NULL, data, &bytes, NULL, NULL, NULL));
  CHECK(num_events == 2 && events[1].context == 4 && (events[1].condition_flags & IPCZ_TRAP_WITHIN_API_CALL));
  number = 99;
  IS(NOT_FOUND, ipcz.Get(b, 0, NULL, data, &bytes, NULL, NULL, NULL));
  IS(NOT_FOUND, put(b, "x"));
  number = 148;
  num_events = 0;
  IS(OK, trap(b, 0, 0, 5));
  IS(OK, ipcz.Close(b, 0, NULL));
  CHECK(num_events == 1 && events[0].condition_flags == (IPCZ_TRAP_REMOVED | IPCZ_TRAP_WITHIN_API_CALL));
  CHECK(statuses[0].size == 32 && statuses[0].flags == 0 && statuses[0].num_local_parcels == 0);
}

static void rejection(void) {
  struct Pair p = connected(1);
  IpczHandle a, b, parcel;
  number = 175;
  IS(OK, ipcz.OpenPortals(p.node, 0, NULL, &a, &b));
  IS(OK, put(a, "local"));
  IS(OK, ipcz.Get(b, IPCZ_GET_PARTIAL, NULL, NULL, NULL, NULL, NULL, &parcel));
  IS(INVALID_ARGUMENT, ipcz.Reject(0, 1, 0, NULL));
  IS(INVALID_ARGUMENT, ipcz.Reject(a, 1, 0, NULL));
  IS(FAILED_PRECONDITION, ipcz.Reject(parcel, 1, 0, NULL));
  IS(OK, ipcz.Close(parcel, 0, NULL));
  number = 176;
  IS(OK, put(p.near[0], "bad"));
  IS(OK, ipcz.Get(p.far[0], IPCZ_GET_PARTIAL, NULL, NULL, NULL, NULL, NULL, &parcel));
  driver_seen.reports = 0;
  IS(OK, ipcz.Reject(parcel, 42, 0, NULL));
  IS(OK, ipcz.Reject(parcel, 43, 0, NULL));
  CHECK(driver_seen.reports == 2 && driver_seen.context == 43 && driver_seen.reported != 0);
  IS(OK, ipcz.Close(parcel, 0, NULL));
  IS(OK, ipcz.Close(a, 0, NULL));
  IS(OK, ipcz.Close(b, 0, NULL));
  disconnect(p, 1);
}

static void merging(void) {
  struct Pair p = connected(2);
  IpczHandle c, d;
  number = 53;
  IS(OK, ipcz.OpenPortals(p.node, 0, NULL, &c, &d));
  IS(INVALID_ARGUMENT, ipcz.MergePortals(c, 0, 0, NULL));
  IS(INVALID_ARGUMENT, ipcz.MergePortals(c, c, 0, NULL));
  IS(INVALID_ARGUMENT, ipcz.MergePortals(c, d, 0, NULL));
  number = 54;
  IS(OK, put(c, "used"));
  IS(FAILED_PRECONDITION, ipcz.MergePortals(c, p.far[0], 0, NULL));
  CHECK(says(d, "used"));
  IS(OK, ipcz.Close(c, 0, NULL));
  IS(OK, ipcz.Close(d, 0, NULL));
  number = 55;
  IS(OK, put(p.near[0], "across"));
  IS(OK, ipcz.MergePortals(p.far[0], p.far[1], 0, NULL));
  CHECK(says(p.near[1], "across"));
  IS(INVALID_ARGUMENT, put(p.far[0], "gone"));
  disconnect(p, 2);
}

static int serialized, destroyed;

static IpczResult IPCZ_API serialize(uintptr_t object, uint32_t flags, const void* options, volatile void* data, size_t* bytes,
                                     IpczHandle* handles, size_t* count) {
  size_t room = bytes ? *bytes : 0;
  (void)flags, (void)options, (void)handles;
  serialized++;
  if (bytes) *bytes = sizeof object;
  if (count) *count = 0;
  if (!data || room < sizeof object) return IPCZ_RESULT_RESOURCE_EXHAUSTED;
  memcpy((void*)data, &object, sizeof object);
  return IPCZ_RESULT_OK;
}

static void IPCZ_API destroy(uintptr_t object, uint32_t flags, const void* options) {
  (void)object, (void)flags, (void)options;
  destroyed++;
}

static void boxes(void) {
  struct Pair p = connected(1);
  struct IpczBoxContents contents;
  IpczHandle box = 0, got = 0, portals[2];
  size_t count = 1, bytes = sizeof(uintptr_t);
  uintptr_t object = 0;
  memset(&contents, 0, sizeof contents);
  number = 159;
  IS(INVALID_ARGUMENT, ipcz.Box(p.node, NULL, 0, NULL, &box));
  IS(INVALID_ARGUMENT, ipcz.Box(p.node, &contents, 0, NULL, &box));
  contents.size = sizeof contents;
  contents.type = IPCZ_BOX_TYPE_DRIVER_OBJECT;
  IS(INVALID_ARGUMENT, ipcz.Box(p.node, &contents, 0, NULL, &box));
  number = 160;
  contents.type = IPCZ_BOX_TYPE_SUBPARCEL;
  IS(UNIMPLEMENTED, ipcz.Box(p.node, &contents, 0, NULL, &box));
  contents.type = 99;
  IS(UNIMPLEMENTED, ipcz.Box(p.node, &contents, 0, NULL, &box));
  number = 161;
  contents.type = IPCZ_BOX_TYPE_APPLICATION_OBJECT;
  IS(INVALID_ARGUMENT, ipcz.Box(0, &contents, 0, NULL, &box));
  IS(INVALID_ARGUMENT, ipcz.Box(p.node, &contents, 0, NULL, NULL));
  IS(OK, ipcz.Box(p.node, &contents, 0, NULL, &box));
  number = 162;
  IS(INVALID_ARGUMENT, ipcz.Unbox(box, 0, NULL, NULL));
  IS(INVALID_ARGUMENT, ipcz.Unbox(p.node, 0, NULL, &contents));
  IS(INVALID_ARGUMENT, ipcz.Unbox(p.near[0], 0, NULL, &contents));
  number = 163;
  IS(OK, ipcz.Unbox(box, IPCZ_UNBOX_PEEK, NULL, &contents));
  IS(OK, ipcz.Unbox(box, 0, NULL, &contents));
  IS(INVALID_ARGUMENT, ipcz.Unbox(box, 0, NULL, &contents));

  number = 71;
  contents.object.application_object = 7;
  contents.serializer = NULL;
  contents.destructor = destroy;
  IS(OK, ipcz.OpenPortals(p.node, 0, NULL, &portals[0], &portals[1]));
  IS(OK, ipcz.Box(p.node, &contents, 0, NULL, &box));
  IS(OK, ipcz.Put(portals[0], NULL, 0, &box, 1, 0, NULL));
  IS(OK, ipcz.Get(portals[1], 0, NULL, NULL, NULL, &got, &count, NULL));
  memset(&contents, 0, sizeof contents);
  contents.size = sizeof contents;
  IS(OK, ipcz.Unbox(got, 0, NULL, &contents));
  CHECK(contents.type == IPCZ_BOX_TYPE_APPLICATION_OBJECT && contents.object.application_object == 7);
  CHECK(contents.destructor == destroy && contents.serializer == NULL && destroyed == 0);

  number = 168;
  contents.serializer = serialize;
  IS(OK, ipcz.Box(p.node, &contents, 0, NULL, &box));
  IS(OK, ipcz.Put(p.far[0], NULL, 0, &box, 1, 0, NULL));
  CHECK(serialized == 3 && destroyed == 1);
  IS(OK, ipcz.Get(p.near[0], 0, NULL, NULL, NULL, &got, &count, NULL));
  IS(OK, ipcz.Unbox(got, 0, NULL, &contents));
  CHECK(contents.type == IPCZ_BOX_TYPE_SUBPARCEL);
  IS(OK, ipcz.Get(contents.object.subparcel, 0, NULL, &object, &bytes, NULL, NULL, NULL));
  CHECK(object == 7);
  IS(OK, ipcz.Close(contents.object.subparcel, 0, NULL));

  number = 165;
  contents.type = IPCZ_BOX_TYPE_DRIVER_OBJECT;
  IS(OK, driver_allocate(4096, 0, NULL, &contents.object.driver_object));
  IS(OK, ipcz.Box(p.node, &contents, 0, NULL, &box));
  IS(OK, ipcz.Put(p.far[0], NULL, 0, &box, 1, 0, NULL));
  IS(OK, ipcz.Get(p.near[0], 0, NULL, NULL, NULL, &got, &count, NULL));
  contents.destructor = destroy;
  IS(OK, ipcz.Unbox(got, 0, NULL, &contents));
  number = 164;
  CHECK(contents.type == IPCZ_BOX_TYPE_DRIVER_OBJECT && contents.destructor == destroy);
  IS(OK, driver_close(contents.object.driver_object, 0, NULL));
  ipcz.Close(portals[0], 0, NULL);
  ipcz.Close(portals[1], 0, NULL);
  disconnect(p, 1);
}

/* A child without exec has a copy of the library that it cannot use (hazards.md AM-13). */
static void forking(void) {
  IpczHandle node = lone_node(), a, b;
  int status = -1;
  pid_t child;
  number = 0;
  IS(OK, ipcz.OpenPortals(node, 0, NULL, &a, &b));
  child = fork();
  if (child == 0) {
    int useless = put(a, "x") == IPCZ_RESULT_UNKNOWN && ipcz.Close(node, 0, NULL) == IPCZ_RESULT_UNKNOWN &&
                  ipcz.CreateNode(&table, IPCZ_NO_FLAGS, NULL, &node) == IPCZ_RESULT_UNKNOWN;
    _exit(useless ? 0 : 1);
  }
  CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  IS(OK, put(a, "the parent's"));
  CHECK(says(b, "the parent's"));
  IS(OK, ipcz.Close(a, 0, NULL));
  IS(OK, ipcz.Close(b, 0, NULL));
  IS(OK, ipcz.Close(node, 0, NULL));
}

int main(void) {
  struct Pair p;
  IpczHandle node, a, b;
  table = driver_table();
  loading();
  closing();
  listeners();
  nodes();
  node = lone_node();
  IS(OK, ipcz.OpenPortals(node, 0, NULL, &a, &b));
  parcels(a, b, node);
  traps(a, b);
  IS(OK, ipcz.Close(node, 0, NULL));
  p = connected(2);
  parcels(p.near[0], p.far[0], p.broker);
  parcels(p.far[1], p.near[1], p.node);
  traps(p.near[0], p.far[0]);
  traps(p.far[1], p.near[1]);
  number = 43;
  IS(OK, ipcz.Close(p.broker, 0, NULL));
  IS(OK, ipcz.Close(p.node, 0, NULL));
  rejection();
  merging();
  boxes();
  forking();
  number = 0;
  CHECK(driver_seen.objects == 0);
  if (failures) {
    printf("%d failures\n", failures);
    return 1;
  }
  printf("all as api.md says\n");
  return 0;
}
