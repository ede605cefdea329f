/* What the library built with `test-hooks` says of routes. */
#include "driver.h"

#if defined(__cplusplus)
extern "C" {
#endif
int IpczTestIsOnCentralRemoteLink(IpczHandle portal);
int IpczTestHasLocalPeer(IpczHandle portal, IpczHandle peer);
#if defined(__cplusplus)
}
#endif

#define CHECK(condition) \
  if (!(condition)) return printf("line %d: not so: %s\n", __LINE__, #condition), 1

int main(void) {
  struct IpczAPI ipcz;
  struct IpczDriver table = driver_table();
  IpczHandle broker, node, near, far, a, b, moved;
  IpczDriverHandle x, y;
  size_t one = 1;
  ipcz.size = sizeof ipcz;
  CHECK(IpczGetAPI(&ipcz) == IPCZ_RESULT_OK);
  CHECK(ipcz.CreateNode(&table, IPCZ_CREATE_NODE_AS_BROKER, NULL, &broker) == IPCZ_RESULT_OK);
  CHECK(ipcz.CreateNode(&table, IPCZ_NO_FLAGS, NULL, &node) == IPCZ_RESULT_OK);
  CHECK(driver_create_transports(0, 0, 0, NULL, &x, &y) == IPCZ_RESULT_OK);
  CHECK(ipcz.ConnectNode(broker, x, 1, IPCZ_NO_FLAGS, NULL, &near) == IPCZ_RESULT_OK);
  CHECK(!IpczTestIsOnCentralRemoteLink(near));
  CHECK(ipcz.ConnectNode(node, y, 1, IPCZ_CONNECT_NODE_TO_BROKER, NULL, &far) == IPCZ_RESULT_OK);
  CHECK(IpczTestIsOnCentralRemoteLink(near) && IpczTestIsOnCentralRemoteLink(far));
  CHECK(!IpczTestHasLocalPeer(near, far) && !IpczTestIsOnCentralRemoteLink(0));
  CHECK(ipcz.OpenPortals(broker, 0, NULL, &a, &b) == IPCZ_RESULT_OK);
  CHECK(IpczTestHasLocalPeer(a, b) && IpczTestHasLocalPeer(b, a));
  CHECK(!IpczTestHasLocalPeer(a, a) && !IpczTestHasLocalPeer(a, near) && !IpczTestIsOnCentralRemoteLink(a));
  CHECK(ipcz.Put(near, NULL, 0, &b, 1, 0, NULL) == IPCZ_RESULT_OK);
  CHECK(ipcz.Get(far, 0, NULL, NULL, NULL, &moved, &one, NULL) == IPCZ_RESULT_OK);
  CHECK(IpczTestIsOnCentralRemoteLink(a) && IpczTestIsOnCentralRemoteLink(moved));
  CHECK(!IpczTestHasLocalPeer(a, moved));
  printf("all as api.md says\n");
  return 0;
}
