//! What the same things cost without ipcz.

use std::error::Error;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use rustix::event::{EventfdFlags, eventfd};

/// Names and values.
pub fn all(seconds: f64) -> Result<Vec<(&'static str, String)>, Box<dyn Error>> {
    Ok(vec![
        ("eventfd ping-pong, two threads", format!("{:.2} us", eventfds(seconds)? * 1e6)),
        ("socket ping-pong, 64 B, two threads", format!("{:.2} us", sockets(seconds)? * 1e6)),
        ("memcpy, 64 KiB", format!("{:.2} GB/s", copies(seconds, 64 << 10) / 1e9)),
        ("memcpy, 1 MiB", format!("{:.2} GB/s", copies(seconds, 1 << 20) / 1e9)),
    ])
}

/// Seconds each time, over about `seconds`.
fn each<E>(seconds: f64, mut act: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let (start, mut times) = (Instant::now(), 0);
    loop {
        for _ in 0..100 {
            act()?;
        }
        times += 100;
        let took = start.elapsed().as_secs_f64();
        if took >= seconds {
            return Ok(took / f64::from(times));
        }
    }
}

fn eventfds(seconds: f64) -> Result<f64, Box<dyn Error>> {
    let (ping, pong) = (eventfd(0, EventfdFlags::CLOEXEC)?, eventfd(0, EventfdFlags::CLOEXEC)?);
    let (heard, answers) = (ping.try_clone()?, pong.try_clone()?);
    let other = std::thread::spawn(move || {
        let mut word = [0; 8];
        // Two and more at once are the end.
        while rustix::io::read(&heard, &mut word).is_ok() && u64::from_ne_bytes(word) == 1 {
            if rustix::io::write(&answers, &1u64.to_ne_bytes()).is_err() {
                return;
            }
        }
    });
    let mut word = [0; 8];
    let took = each(seconds, || -> rustix::io::Result<()> {
        rustix::io::write(&ping, &1u64.to_ne_bytes())?;
        rustix::io::read(&pong, &mut word)?;
        Ok(())
    })?;
    rustix::io::write(&ping, &2u64.to_ne_bytes())?;
    other.join().map_err(|_| "the answering thread panicked")?;
    Ok(took)
}

fn sockets(seconds: f64) -> Result<f64, Box<dyn Error>> {
    let (mut near, mut far) = UnixStream::pair()?;
    let other = std::thread::spawn(move || {
        let mut data = [0; 64];
        while far.read_exact(&mut data).is_ok() && far.write_all(&data).is_ok() {}
    });
    let mut data = [1; 64];
    let took = each(seconds, || -> std::io::Result<()> {
        near.write_all(&data)?;
        near.read_exact(&mut data)
    })?;
    drop(near);
    other.join().map_err(|_| "the answering thread panicked")?;
    Ok(took)
}

/// Bytes a second.
fn copies(seconds: f64, bytes: usize) -> f64 {
    let (from, mut to) = (vec![1u8; bytes], vec![0u8; bytes]);
    let took = each(seconds, || -> Result<(), std::convert::Infallible> {
        std::hint::black_box(&mut to).copy_from_slice(std::hint::black_box(&from));
        Ok(())
    });
    let Ok(took) = took;
    bytes as f64 / took
}
