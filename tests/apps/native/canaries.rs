//! Canaries in Rust: its thread-locals, its locks and channels. What each function does: canaries.h.
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io::Write;
use std::os::raw::{c_char, c_int, c_long};
use std::os::unix::io::FromRawFd;
use std::panic;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Barrier, Condvar, Mutex, Once, RwLock};
use std::thread;
use std::time::Duration;

type Wait = extern "C" fn();

const WRONG: i64 = -1;
const A_WHILE: Duration = Duration::from_millis(1);

// --- Thread-locals --------------------------------------------------------------------------

static ENDS: Mutex<Vec<i64>> = Mutex::new(Vec::new());
static ENDS_FD: AtomicI32 = AtomicI32::new(-1);

/// A thread's data, which remembers its thread.
struct Kept {
    own: Cell<i64>,
    thread: Cell<Option<thread::ThreadId>>,
}

impl Kept {
    fn new() -> Kept {
        Kept { own: Cell::new(0), thread: Cell::new(None) }
    }

    fn hold(&self, own: i64, wait: Wait) -> i64 {
        let mine = Some(thread::current().id());
        if self.own.get() != 0 && self.thread.get() != mine {
            return WRONG;
        }
        self.own.set(own);
        self.thread.set(mine);
        wait();
        if self.thread.get() == Some(thread::current().id()) { self.own.get() } else { WRONG }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let own = self.own.get();
        if own == 0 {
            return;
        }
        let fd = ENDS_FD.load(Ordering::SeqCst);
        if fd >= 0 {
            let mut file = std::mem::ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(fd) });
            let _ = writeln!(file, "ended {}", own);
        }
        ENDS.lock().unwrap().push(own);
    }
}

thread_local! {
    static KEPT: Kept = Kept::new();
    static PLAIN: Cell<i64> = const { Cell::new(0) };
    static POOL: RefCell<Vec<i64>> = RefCell::new(Vec::new());
}

fn local_with_drop(own: i64, wait: Wait) -> i64 {
    KEPT.with(|kept| kept.hold(own, wait))
}

fn local_plain(own: i64, wait: Wait) -> i64 {
    PLAIN.with(|cell| cell.set(own));
    wait();
    PLAIN.with(|cell| cell.get())
}

/// A pool of owned objects, as pyo3 has: the last one in is the first one out.
fn local_pool(own: i64, wait: Wait) -> i64 {
    let before = POOL.with(|pool| pool.borrow().len());
    POOL.with(|pool| pool.borrow_mut().push(own));
    wait();
    let found = POOL.with(|pool| pool.borrow_mut().pop());
    let after = POOL.with(|pool| pool.borrow().len());
    if before == 0 && after == 0 { found.unwrap_or(WRONG) } else { WRONG }
}

/// Borrowed over the wait: another's borrow would panic.
fn local_borrowed(own: i64, wait: Wait) -> i64 {
    thread_local!(static BORROWED: RefCell<i64> = RefCell::new(0));
    BORROWED.with(|cell| match cell.try_borrow_mut() {
        Ok(mut held) => {
            *held = own;
            wait();
            *held
        }
        Err(_) => WRONG,
    })
}

fn local_thread_id(own: i64, wait: Wait) -> i64 {
    static INSIDE: Mutex<Option<HashSet<thread::ThreadId>>> = Mutex::new(None);
    let mine = thread::current().id();
    if !INSIDE.lock().unwrap().get_or_insert_with(HashSet::new).insert(mine) {
        return WRONG;
    }
    wait();
    let left = INSIDE.lock().unwrap().as_mut().unwrap().remove(&mine);
    if left && thread::current().id() == mine { own } else { WRONG }
}

/// Panics, and waits while the stack unwinds: a second panic in the same thread would abort.
fn local_panic(own: i64, wait: Wait) -> i64 {
    struct Waits(Wait, Arc<AtomicBool>);
    impl Drop for Waits {
        fn drop(&mut self) {
            self.0();
            self.1.store(thread::panicking(), Ordering::SeqCst);
        }
    }
    let was_panicking = Arc::new(AtomicBool::new(false));
    let told = was_panicking.clone();
    let caught = panic::catch_unwind(panic::AssertUnwindSafe(|| {
        let _waits = Waits(wait, told);
        panic::resume_unwind(Box::new(own));
    }));
    let right = was_panicking.load(Ordering::SeqCst) && !thread::panicking();
    match caught {
        Err(payload) if right => *payload.downcast::<i64>().unwrap_or(Box::new(WRONG)),
        _ => WRONG,
    }
}

// --- Locks ----------------------------------------------------------------------------------

fn lock_mutex(own: i64, wait: Wait) -> i64 {
    static HOLDER: Mutex<i64> = Mutex::new(0);
    let mut holder = HOLDER.lock().unwrap();
    if *holder != 0 {
        return WRONG;
    }
    *holder = own;
    wait();
    std::mem::replace(&mut *holder, 0)
}

fn lock_rwlock(own: i64, wait: Wait) -> i64 {
    static WRITER: RwLock<i64> = RwLock::new(0);
    if own % 4 == 0 {
        let mut writer = WRITER.write().unwrap();
        if *writer != 0 {
            return WRONG;
        }
        *writer = own;
        wait();
        return std::mem::replace(&mut *writer, 0);
    }
    let writer = WRITER.read().unwrap();
    let before = *writer;
    wait();
    if before == 0 && *writer == 0 { own } else { WRONG }
}

static TAKEN: Mutex<bool> = Mutex::new(false);
static CHANGED: Condvar = Condvar::new();

fn lock_condvar(own: i64, wait: Wait) -> i64 {
    static HOLDER: AtomicI64 = AtomicI64::new(0);
    let mut taken = TAKEN.lock().unwrap();
    while *taken {
        taken = if own % 2 == 0 {
            CHANGED.wait(taken).unwrap()
        } else {
            CHANGED.wait_timeout(taken, Duration::from_millis(20)).unwrap().0
        };
    }
    *taken = true;
    drop(taken);
    HOLDER.store(own, Ordering::SeqCst);
    wait();
    let found = HOLDER.load(Ordering::SeqCst);
    *TAKEN.lock().unwrap() = false;
    CHANGED.notify_one();
    found
}

/// Ten requests in a row are for the same.
fn once_call(own: i64, wait: Wait) -> i64 {
    const NEW: Once = Once::new();
    const NONE: AtomicUsize = AtomicUsize::new(0);
    static ONCE: [Once; 4096] = [NEW; 4096];
    static TIMES: [AtomicUsize; 4096] = [NONE; 4096];
    let which = (own / 10) as usize % ONCE.len();
    ONCE[which].call_once(|| {
        wait();
        TIMES[which].fetch_add(1, Ordering::SeqCst);
    });
    if TIMES[which].load(Ordering::SeqCst) == 1 { own } else { WRONG }
}

// --- A partner: a real thread ---------------------------------------------------------------

fn partner_joined(own: i64, wait: Wait) -> i64 {
    let partner = thread::spawn(move || {
        thread::sleep(A_WHILE);
        own
    });
    wait();
    partner.join().unwrap()
}

fn partner_sends(own: i64, wait: Wait) -> i64 {
    let (sender, receiver) = mpsc::channel();
    let partner = thread::spawn(move || {
        for number in 0..3 {
            thread::sleep(A_WHILE);
            sender.send(own + number).unwrap();
        }
    });
    wait();
    let said: Vec<i64> = receiver.iter().collect();
    partner.join().unwrap();
    if said == [own, own + 1, own + 2] { own } else { WRONG }
}

fn partner_receives(own: i64, wait: Wait) -> i64 {
    let (sender, receiver) = mpsc::sync_channel(0);
    let partner = thread::spawn(move || {
        thread::sleep(A_WHILE);
        receiver.recv().unwrap()
    });
    wait();
    sender.send(own).unwrap();
    partner.join().unwrap()
}

fn partner_unparks(own: i64, wait: Wait) -> i64 {
    let said = Arc::new(AtomicI64::new(0));
    let (waiting, told) = (thread::current(), said.clone());
    let partner = thread::spawn(move || {
        thread::sleep(A_WHILE);
        told.store(own, Ordering::SeqCst);
        waiting.unpark();
    });
    wait();
    while said.load(Ordering::SeqCst) == 0 {
        if own % 2 == 0 {
            thread::park();
        } else {
            thread::park_timeout(Duration::from_millis(20));
        }
    }
    partner.join().unwrap();
    said.load(Ordering::SeqCst)
}

fn partner_at_barrier(own: i64, wait: Wait) -> i64 {
    let barrier = Arc::new(Barrier::new(2));
    let other = barrier.clone();
    let partner = thread::spawn(move || other.wait().is_leader());
    wait();
    let leads = barrier.wait().is_leader();
    if partner.join().unwrap() != leads { own } else { WRONG }
}

fn partner_in_scope(own: i64, wait: Wait) -> i64 {
    let said = AtomicI64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(A_WHILE);
            said.store(own, Ordering::SeqCst);
        });
        wait();
    });
    said.into_inner()
}

type Canary = (&'static str, fn(i64, Wait) -> i64);

static CANARIES: [Canary; 16] = [
    ("local_with_drop\0", local_with_drop),
    ("local_plain\0", local_plain),
    ("local_pool\0", local_pool),
    ("local_borrowed\0", local_borrowed),
    ("local_thread_id\0", local_thread_id),
    ("local_panic\0", local_panic),
    ("lock_mutex\0", lock_mutex),
    ("lock_rwlock\0", lock_rwlock),
    ("lock_condvar\0", lock_condvar),
    ("once_call\0", once_call),
    ("partner_joined\0", partner_joined),
    ("partner_sends\0", partner_sends),
    ("partner_receives\0", partner_receives),
    ("partner_unparks\0", partner_unparks),
    ("partner_at_barrier\0", partner_at_barrier),
    ("partner_in_scope\0", partner_in_scope),
];

#[no_mangle]
pub extern "C" fn canaries() -> c_int {
    CANARIES.len() as c_int
}

#[no_mangle]
pub extern "C" fn canary_name(which: c_int) -> *const c_char {
    CANARIES[which as usize].0.as_ptr() as *const c_char
}

#[no_mangle]
pub extern "C" fn canary_run(which: c_int, own: c_long, wait: Wait) -> c_long {
    CANARIES[which as usize].1(own, wait)
}

/// # Safety
/// `owns` has room for `max` numbers.
#[no_mangle]
pub unsafe extern "C" fn canaries_ended(owns: *mut c_long, max: c_int) -> c_int {
    let mut ends = ENDS.lock().unwrap();
    let mut count = 0;
    while count < max {
        match ends.pop() {
            Some(own) => *owns.offset(count as isize) = own,
            None => break,
        }
        count += 1;
    }
    count
}

#[no_mangle]
pub extern "C" fn canaries_say_ends(fd: c_int) {
    ENDS_FD.store(fd, Ordering::SeqCst);
}
