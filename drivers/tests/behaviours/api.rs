//! The table of `IpczGetAPI`, with Rust's types around what every test needs. Handles that a call gives are noted, so that the end of a
//! test can close what the test has left open.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::mem::zeroed;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

pub use ipcz::abi::result::*;
pub use ipcz::abi::*;

pub type H = IpczHandle;
pub type R = IpczResult;

pub const DEAD: u32 = PORTAL_STATUS_PEER_CLOSED | PORTAL_STATUS_DEAD;
pub const CLOSED: u32 = PORTAL_STATUS_PEER_CLOSED;
pub const WITHIN: u32 = TRAP_WITHIN_API_CALL;

pub fn api() -> &'static IpczApi {
    static API: OnceLock<IpczApi> = OnceLock::new();
    API.get_or_init(|| {
        let mut room = [0u64; size_of::<IpczApi>() / 8];
        room[0] = size_of::<IpczApi>() as u64;
        let table: *mut IpczApi = room.as_mut_ptr().cast();
        unsafe {
            assert_eq!(ipcz::ffi::IpczGetAPI(table), OK);
            table.read()
        }
    })
}

unsafe extern "C" {
    fn IpczTestIsOnCentralRemoteLink(portal: H) -> c_int;
    fn IpczTestHasLocalPeer(portal: H, peer: H) -> c_int;
}

/// Whether a portal's route is one link to another node.
pub fn is_direct(portal: H) -> bool {
    unsafe { IpczTestIsOnCentralRemoteLink(portal) == 1 }
}

/// Whether two portals are linked straight to each other.
pub fn are_local_peers(a: H, b: H) -> bool {
    unsafe { IpczTestHasLocalPeer(a, b) == 1 }
}

#[track_caller]
pub fn ok(said: R) {
    assert_eq!(said, OK);
}

#[track_caller]
pub fn invalid(said: R) {
    assert_eq!(said, INVALID_ARGUMENT);
}

thread_local! {
    static GIVEN: RefCell<Vec<H>> = const { RefCell::new(Vec::new()) };
}

/// Notes a handle that the test got.
pub fn given(handle: H) -> H {
    if handle != 0 {
        GIVEN.with_borrow_mut(|given| given.push(handle));
    }
    handle
}

pub fn given_all(handles: &[H]) {
    for handle in handles {
        given(*handle);
    }
}

/// All that were noted, the last first.
pub fn take_given() -> Vec<H> {
    GIVEN.with_borrow_mut(|given| given.drain(..).rev().collect())
}

pub fn close(it: H) -> R {
    unsafe { (api().close)(it, 0, null()) }
}

pub fn open(node: H) -> (H, H) {
    let (mut a, mut b) = (0, 0);
    ok(unsafe { (api().open_portals)(node, 0, null(), &mut a, &mut b) });
    (given(a), given(b))
}

pub fn merge(a: H, b: H) -> R {
    unsafe { (api().merge_portals)(a, b, 0, null()) }
}

pub fn query(portal: H) -> Result<IpczPortalStatus, R> {
    let mut status = IpczPortalStatus { size: size_of::<IpczPortalStatus>(), flags: 99, num_local_parcels: 99, num_local_bytes: 99 };
    match unsafe { (api().query_portal_status)(portal, 0, null(), &mut status) } {
        OK => Ok(status),
        error => Err(error),
    }
}

#[track_caller]
pub fn flags(portal: H) -> u32 {
    query(portal).unwrap().flags
}

/// Parcels and bytes that can be read.
#[track_caller]
pub fn counts(portal: H) -> (usize, usize) {
    let status = query(portal).unwrap();
    (status.num_local_parcels, status.num_local_bytes)
}

pub fn put(portal: H, data: &[u8], attached: &[H]) -> R {
    unsafe { (api().put)(portal, data.as_ptr().cast(), data.len(), attached.as_ptr(), attached.len(), 0, null()) }
}

/// The next parcel, whole.
pub fn get(source: H) -> Result<(Vec<u8>, Vec<H>), R> {
    let (mut bytes, mut count) = (0, 0);
    match get_raw(source, 0, null_mut(), &mut bytes, null_mut(), &mut count, null_mut()) {
        RESOURCE_EXHAUSTED => {}
        OK => return Ok((Vec::new(), Vec::new())),
        error => return Err(error),
    }
    let (mut data, mut handles) = (vec![0u8; bytes], vec![0; count]);
    match get_raw(source, 0, data.as_mut_ptr(), &mut bytes, handles.as_mut_ptr(), &mut count, null_mut()) {
        OK => {
            assert_eq!((bytes, count), (data.len(), handles.len()));
            given_all(&handles);
            Ok((data, handles))
        }
        error => Err(error),
    }
}

pub fn get_raw(source: H, flags: u32, data: *mut u8, bytes: *mut usize, handles: *mut H, count: *mut usize, parcel: *mut H) -> R {
    unsafe { (api().get)(source, flags, null(), data.cast(), bytes, handles, count, parcel) }
}

/// The data of the next parcel, which has no attachments.
#[track_caller]
pub fn read(source: H) -> Vec<u8> {
    let (data, handles) = get(source).unwrap();
    assert_eq!(handles, []);
    data
}

/// The next parcel as an object.
#[track_caller]
pub fn keep(source: H) -> H {
    let mut parcel = 0;
    ok(get_raw(source, GET_PARTIAL, null_mut(), null_mut(), null_mut(), null_mut(), &mut parcel));
    given(parcel)
}

pub struct Putting {
    pub data: *mut u8,
    pub bytes: usize,
    pub transaction: IpczTransaction,
}

pub fn begin_put(portal: H, bytes: usize, flags: u32) -> Result<Putting, R> {
    let mut begun = Putting { data: null_mut(), bytes, transaction: 0 };
    match unsafe { (api().begin_put)(portal, flags, null(), (&raw mut begun.data).cast(), &mut begun.bytes, &mut begun.transaction) } {
        OK => Ok(begun),
        error => Err(error),
    }
}

/// Begins a put of this data and writes it.
#[track_caller]
pub fn fill(portal: H, data: &[u8]) -> IpczTransaction {
    let begun = begin_put(portal, data.len(), 0).unwrap();
    assert_eq!(begun.bytes, data.len());
    if !data.is_empty() {
        assert!(begun.data.addr().is_multiple_of(8));
        unsafe { begun.data.copy_from_nonoverlapping(data.as_ptr(), data.len()) };
    }
    begun.transaction
}

pub fn end_put(portal: H, transaction: IpczTransaction, produced: usize, attached: &[H], flags: u32) -> R {
    unsafe { (api().end_put)(portal, transaction, produced, attached.as_ptr(), attached.len(), flags, null()) }
}

pub struct Getting {
    pub data: *const u8,
    pub bytes: usize,
    pub handles: Vec<H>,
    pub transaction: IpczTransaction,
}

impl Getting {
    pub fn read(&self) -> Vec<u8> {
        if self.bytes == 0 { Vec::new() } else { unsafe { std::slice::from_raw_parts(self.data, self.bytes) }.to_vec() }
    }
}

/// Begins a get with room for `room` attachments.
pub fn begin_get(source: H, room: usize, flags: u32) -> Result<Getting, R> {
    let mut begun = Getting { data: null(), bytes: 77, handles: vec![0; room], transaction: 0 };
    let mut count = room;
    let Getting { data, bytes, handles, transaction } = &mut begun;
    match unsafe { (api().begin_get)(source, flags, null(), (&raw mut *data).cast(), bytes, handles.as_mut_ptr(), &mut count, transaction) }
    {
        OK => {
            begun.handles.truncate(count);
            given_all(&begun.handles);
            Ok(begun)
        }
        error => Err(error),
    }
}

pub fn end_get(source: H, transaction: IpczTransaction, flags: u32) -> R {
    unsafe { (api().end_get)(source, transaction, flags, null(), null_mut()) }
}

/// Ends a get and keeps its parcel.
pub fn end_get_keep(source: H, transaction: IpczTransaction) -> Result<H, R> {
    let mut parcel = 0;
    match unsafe { (api().end_get)(source, transaction, 0, null(), &mut parcel) } {
        OK => Ok(given(parcel)),
        error => Err(error),
    }
}

pub fn reject(parcel: H, context: usize) -> R {
    unsafe { (api().reject)(parcel, context, 0, null()) }
}

pub fn contents(kind: u32, object: usize) -> IpczBoxContents {
    IpczBoxContents { size: size_of::<IpczBoxContents>(), kind, object, serializer: None, destructor: None }
}

pub fn boxed_raw(node: H, contents: &IpczBoxContents) -> Result<H, R> {
    let mut made = 0;
    match unsafe { (api().r#box)(node, contents, 0, null(), &mut made) } {
        OK => Ok(given(made)),
        error => Err(error),
    }
}

pub fn unbox_raw(it: H, flags: u32, contents: &mut IpczBoxContents) -> R {
    unsafe { (api().unbox)(it, flags, null(), contents) }
}

/// What is in a box, which is gone then.
#[track_caller]
pub fn unbox(it: H) -> (u32, usize) {
    let mut inside = contents(99, 99);
    ok(unbox_raw(it, 0, &mut inside));
    if inside.kind == BOX_TYPE_SUBPARCEL {
        given(inside.object);
    }
    (inside.kind, inside.object)
}

/// The parcel in a box.
#[track_caller]
pub fn subparcel(it: H) -> H {
    let (kind, parcel) = unbox(it);
    assert_eq!(kind, BOX_TYPE_SUBPARCEL);
    parcel
}

/// What a serializer does when it is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    Says,
    /// Answers OK to the question how much it needs.
    HasNothing,
    Refuses,
}

/// An object of the application.
pub struct App {
    pub number: usize,
    manner: Manner,
    data: Vec<u8>,
    handles: Vec<H>,
    pub calls: Mutex<Vec<&'static str>>,
}

static APPS: Mutex<BTreeMap<usize, Arc<App>>> = Mutex::new(BTreeMap::new());

impl App {
    pub fn new(manner: Manner, data: &[u8], handles: &[H]) -> Arc<App> {
        static LAST: AtomicUsize = AtomicUsize::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        let app = Arc::new(App { number, manner, data: data.to_vec(), handles: handles.to_vec(), calls: Mutex::default() });
        APPS.lock().unwrap().insert(number, Arc::clone(&app));
        app
    }

    pub fn contents(&self) -> IpczBoxContents {
        let kind = BOX_TYPE_APPLICATION_OBJECT;
        IpczBoxContents { serializer: Some(serialize), destructor: Some(destroy), ..contents(kind, self.number) }
    }

    /// A box with it.
    pub fn boxed(&self, node: H) -> H {
        boxed_raw(node, &self.contents()).unwrap()
    }

    pub fn calls(&self) -> Vec<&'static str> {
        self.calls.lock().unwrap().clone()
    }
}

unsafe extern "C" fn serialize(
    object: usize,
    flags: u32,
    options: *const c_void,
    data: *mut c_void,
    bytes: *mut usize,
    handles: *mut H,
    count: *mut usize,
) -> R {
    let Some(app) = APPS.lock().unwrap().get(&object).cloned() else { return UNKNOWN };
    let note = |what| app.calls.lock().unwrap().push(what);
    if flags != 0 || !options.is_null() {
        note("flags");
    }
    let room = |number: *mut usize| if number.is_null() { 0 } else { unsafe { number.read() } };
    let (room_bytes, room_count) = (room(bytes), room(count));
    note(match (data.is_null() && bytes.is_null() && handles.is_null() && count.is_null(), room_bytes + room_count) {
        (true, _) => "can you?",
        (false, 0) => "how much?",
        (false, _) => "do!",
    });
    match app.manner {
        Manner::Refuses => return FAILED_PRECONDITION,
        Manner::HasNothing if room_bytes + room_count == 0 && !bytes.is_null() => return OK,
        Manner::HasNothing | Manner::Says => {}
    }
    unsafe {
        if !bytes.is_null() {
            bytes.write(app.data.len());
        }
        if !count.is_null() {
            count.write(app.handles.len());
        }
        if room_bytes < app.data.len() || room_count < app.handles.len() || app.data.len() + app.handles.len() == 0 {
            return RESOURCE_EXHAUSTED;
        }
        data.cast::<u8>().copy_from_nonoverlapping(app.data.as_ptr(), app.data.len());
        handles.copy_from_nonoverlapping(app.handles.as_ptr(), app.handles.len());
    }
    OK
}

unsafe extern "C" fn destroy(object: usize, flags: u32, options: *const c_void) {
    assert!(flags == 0 && options.is_null());
    let Some(app) = APPS.lock().unwrap().get(&object).cloned() else { return };
    app.calls.lock().unwrap().push("destroy");
}

pub struct Event {
    pub size: usize,
    pub context: usize,
    pub flags: u32,
    pub status: IpczPortalStatus,
    pub thread: std::thread::ThreadId,
}

type Handler = Box<dyn FnOnce(Event) + Send>;

static HANDLERS: Mutex<BTreeMap<usize, (usize, Handler)>> = Mutex::new(BTreeMap::new());

/// A handler has panicked, of whatever test.
pub static PANICKED: AtomicBool = AtomicBool::new(false);

/// The one C function all traps of the tests have.
pub unsafe extern "C" fn fired(event: *const IpczTrapEvent) {
    let event = unsafe { event.read() };
    let Some((context, handler)) = HANDLERS.lock().unwrap().remove(&event.context) else { return };
    let status = unsafe { event.status.read() };
    let event = Event { size: event.size, context, flags: event.condition_flags, status, thread: std::thread::current().id() };
    // No panic may go through C.
    if catch_unwind(AssertUnwindSafe(|| handler(event))).is_err() {
        PANICKED.store(true, Ordering::Relaxed);
    }
}

pub fn conditions(flags: u32, level: usize) -> IpczTrapConditions {
    IpczTrapConditions { size: size_of::<IpczTrapConditions>(), flags, min_local_parcels: level, min_local_bytes: level }
}

/// Installs a trap.
pub fn trap(portal: H, flags: u32, level: usize, context: usize, handler: impl FnOnce(Event) + Send + 'static) -> R {
    trap_with(portal, &conditions(flags, level), context, handler, None, None)
}

pub fn trap_with(
    portal: H,
    conditions: &IpczTrapConditions,
    context: usize,
    handler: impl FnOnce(Event) + Send + 'static,
    satisfied: Option<&mut u32>,
    status: Option<&mut IpczPortalStatus>,
) -> R {
    static LAST: AtomicUsize = AtomicUsize::new(1);
    let key = LAST.fetch_add(1, Ordering::Relaxed);
    HANDLERS.lock().unwrap().insert(key, (context, Box::new(handler)));
    let (satisfied, status) = (satisfied.map_or(null_mut(), |it| it), status.map_or(null_mut(), |it| it));
    let said = unsafe { (api().trap)(portal, conditions, Some(fired), key, 0, null(), satisfied, status) };
    if said != OK {
        HANDLERS.lock().unwrap().remove(&key);
    }
    said
}

/// A struct that a test spoils.
pub fn zeroed_options() -> IpczCreateNodeOptions {
    IpczCreateNodeOptions { size: size_of::<IpczCreateNodeOptions>(), ..unsafe { zeroed() } }
}
