// SPDX-License-Identifier: BSL-1.0

//! Tokio's rows; see rows.hpp. The multi-threaded runtime with as many workers, but for hop and pingpong: there each
//! worker is a current-thread runtime with a thread of its own. A hop is a spawn on the other runtime and, for the way
//! back, the await of what it has spawned: the cheapest way to have something done there and go on here.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc as std_mpsc;
use std::thread;
use std::time::Instant;

use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

const BATCH: usize = 1_000;
const BURST: usize = 100_000;
const SKYNET_FORK: usize = 10;
const NO_SUCH_ROW: i32 = 3;

type Measured = (usize, f64);

async fn batches(count: usize) {
    let mut children: Vec<JoinHandle<()>> = Vec::with_capacity(BATCH);
    for _ in 0..count {
        for _ in 0..BATCH {
            children.push(tokio::spawn(async {}));
        }
        for child in children.drain(..) {
            child.await.unwrap();
        }
    }
}

async fn spawn(size: usize) -> Measured {
    batches(size / 10 + 1).await;
    let start = Instant::now();
    batches(size).await;
    (size * BATCH, start.elapsed().as_secs_f64())
}

async fn yielders(times: usize) {
    let tasks: Vec<_> = (0..BATCH)
        .map(|_| {
            tokio::spawn(async move {
                for _ in 0..times {
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

async fn yields(size: usize) -> Measured {
    yielders(size / 10 + 1).await;
    let start = Instant::now();
    yielders(size).await;
    (size * BATCH, start.elapsed().as_secs_f64())
}

async fn there_and_back(other: &Handle, times: usize) {
    for _ in 0..times {
        other.spawn(async {}).await.unwrap();
    }
}

async fn hop(other: Handle, size: usize) -> Measured {
    there_and_back(&other, size / 10 + 1).await;
    let start = Instant::now();
    there_and_back(&other, size).await;
    (2 * size, start.elapsed().as_secs_f64())
}

async fn player(mut from: mpsc::Receiver<i32>, to: mpsc::Sender<i32>, times: usize, last: bool) {
    for at in 0..times {
        let ball = from.recv().await.unwrap();
        if !last || at + 1 < times {
            to.send(ball).await.unwrap();
        }
    }
}

async fn play(one: &Handle, other: &Handle, times: usize) {
    let (there, from_there) = mpsc::channel(1);
    let (back, from_back) = mpsc::channel(1);
    back.try_send(1).unwrap();
    let second = other.spawn(player(from_there, back, times, false));
    let first = one.spawn(player(from_back, there, times + 1, true));
    second.await.unwrap();
    first.await.unwrap();
}

async fn ping_pong(one: Handle, other: Handle, size: usize) -> Measured {
    play(&one, &other, size / 10 + 1).await;
    let start = Instant::now();
    play(&one, &other, size).await;
    (2 * size, start.elapsed().as_secs_f64())
}

// Two runtimes of one thread each; the measurement runs on the first.
fn on_two_threads<M, F>(measure: M) -> Measured
where
    M: FnOnce(Handle, Handle) -> F,
    F: Future<Output = Measured>,
{
    let one = Builder::new_current_thread().build().unwrap();
    let other = Builder::new_current_thread().build().unwrap();
    let handle = other.handle().clone();
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = thread::spawn(move || other.block_on(stopped).unwrap());
    let own = one.handle().clone();
    let measured = one.block_on(measure(own, handle));
    stop.send(()).unwrap();
    thread.join().unwrap();
    measured
}

// Lives for ever, so that the tasks may borrow it.
struct Countdown {
    left: AtomicUsize,
    none_left: std_mpsc::SyncSender<()>,
}

fn spawn_share(handle: &Handle, rounds: usize, tasks: usize) {
    let (none_left, ended) = std_mpsc::sync_channel(1);
    let left = AtomicUsize::new(0);
    let countdown: &'static Countdown = Box::leak(Box::new(Countdown { left, none_left }));
    for _ in 0..rounds {
        countdown.left.store(tasks, Ordering::Relaxed);
        for _ in 0..tasks {
            handle.spawn(async {
                if countdown.left.fetch_sub(1, Ordering::AcqRel) == 1 {
                    countdown.none_left.send(()).unwrap();
                }
            });
        }
        ended.recv().unwrap();
    }
}

fn inject(handle: &Handle, size: usize, threads: usize) -> Measured {
    spawn_share(handle, 1, BURST);
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| spawn_share(handle, size, BURST / threads));
        }
    });
    (size * BURST, start.elapsed().as_secs_f64())
}

type Boxed = Pin<Box<dyn Future<Output = usize> + Send>>;

fn fib(n: usize) -> Boxed {
    Box::pin(async move {
        if n < 2 {
            return n;
        }
        let one = tokio::spawn(fib(n - 1));
        let other = fib(n - 2).await;
        one.await.unwrap() + other
    })
}

fn fib_calls(n: usize) -> usize {
    let (mut calls, mut next) = (1, 1);
    for _ in 0..n {
        (calls, next) = (next, calls + next + 1);
    }
    calls
}

async fn fibonacci(size: usize) -> Measured {
    let first = fib(size).await;
    let start = Instant::now();
    let second = fib(size).await;
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(first, second);
    (fib_calls(size), seconds)
}

fn sum_up(first: usize, leaves: usize) -> Boxed {
    Box::pin(async move {
        if leaves == 1 {
            return first;
        }
        let share = leaves / SKYNET_FORK;
        let mut parts = Vec::with_capacity(SKYNET_FORK);
        for part in 0..SKYNET_FORK {
            parts.push(tokio::spawn(sum_up(first + part * share, share)));
        }
        let mut sum = 0;
        for part in parts {
            sum += part.await.unwrap();
        }
        sum
    })
}

fn skynet_tasks(mut leaves: usize) -> usize {
    let mut tasks = 0;
    while leaves > 0 {
        tasks += leaves;
        leaves /= SKYNET_FORK;
    }
    tasks
}

async fn skynet(size: usize) -> Measured {
    sum_up(0, size).await;
    let start = Instant::now();
    let sum = sum_up(0, size).await;
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(sum, size * (size - 1) / 2);
    (skynet_tasks(size), seconds)
}

fn run(row: &str, size: usize, workers: usize) -> Option<Measured> {
    if row == "hop" || row == "pingpong" {
        if workers < 2 {
            return None;
        }
        return Some(match row {
            "hop" => on_two_threads(|_, other| hop(other, size)),
            _ => on_two_threads(|one, other| ping_pong(one, other, size)),
        });
    }
    let runtime = Builder::new_multi_thread()
        .worker_threads(workers)
        .build()
        .unwrap();
    let handle = runtime.handle().clone();
    // Spawned, not blocked on: block_on would run it on this thread, which is no worker.
    let measured = |future: Pin<Box<dyn Future<Output = Measured> + Send>>| {
        Some(runtime.block_on(runtime.spawn(future)).unwrap())
    };
    match row {
        "spawn" => measured(Box::pin(spawn(size))),
        "yield" => measured(Box::pin(yields(size))),
        "pingpong_free" => measured(Box::pin(ping_pong(handle.clone(), handle, size))),
        "inject1" => Some(inject(&handle, size, 1)),
        "inject4" => Some(inject(&handle, size, 4)),
        "fib" => measured(Box::pin(fibonacci(size))),
        "skynet" => measured(Box::pin(skynet(size))),
        _ => None,
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.len() < 4 {
        eprintln!("usage: {} ROW SIZE WORKERS", arguments[0]);
        std::process::exit(2);
    }
    let number = |at: usize| arguments[at].parse().expect("a number");
    match run(&arguments[1], number(2), number(3)) {
        Some((ops, seconds)) => println!("{{\"ops\": {ops}, \"seconds\": {seconds:.9}}}"),
        None => std::process::exit(NO_SUCH_ROW),
    }
}
