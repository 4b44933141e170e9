//! While no agent runs, what is denied stays denied, and what is allowed goes on.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use model::Protocol;

use super::talk::{Talk, Talkers};
use super::{agent, lets_in, stage};
use crate::stage::Running;

/// How often the denied side tries.
const PROBE: Duration = Duration::from_millis(5);

/// `kill -9` and a start, again and again, while one Pod tries what is denied and another one does
/// what is allowed: not one packet passes, and not one word is lost.
pub(super) fn kill_and_restart_open_nothing_and_lose_nothing(mode: &str) {
    let stage = stage();
    stage.folder.write("policy.yaml", &lets_in(&["friend"]));
    let mut running = Running::start(agent(&stage, mode, &[]));
    stage.until("my-service answers", |stage| stage.ask().is_some());
    let at = |pod: &str, address: &'static str| {
        let socket = stage.lab.at(pod).unwrap().run(move || UdpSocket::bind(address).unwrap());
        let socket = socket.unwrap();
        socket.set_read_timeout(Some(PROBE)).unwrap();
        socket
    };
    let ends = (("my-app-2", "10.77.1.4:9005"), ("my-app-1", "10.77.1.4:9005"));
    let stream = Talk::begin(&stage.lab, Protocol::Tcp, Talkers::Both, ends.0, ends.1);
    let (denied, allowed) = (at("client", "10.77.1.9:4001"), at("my-app-2", "10.77.1.5:4001"));
    let server = at("my-app-1", "10.77.1.4:5300");
    let ended = AtomicBool::new(false);
    let [tried, passed, sent, came] = [(); 4].map(|()| AtomicU32::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = [0; 16];
            while let Ok(got) = server
                .recv(&mut buffer)
                .map(|_| ())
                .or_else(|_| if ended.load(Ordering::Relaxed) { Err(()) } else { Ok(()) })
            {
                let () = got;
                match buffer[0] {
                    b'd' => drop(passed.fetch_add(1, Ordering::Relaxed)),
                    b'a' => drop(came.fetch_add(1, Ordering::Relaxed)),
                    _ => {}
                }
                buffer[0] = 0;
            }
        });
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                // Each from another port: a new connection.
                let fresh = at("client", "10.77.1.9:0");
                let _ = fresh.send_to(b"d", "10.77.1.4:5300");
                let _ = denied.send_to(b"d", "10.77.1.4:5300");
                tried.fetch_add(2, Ordering::Relaxed);
                thread::sleep(PROBE);
            }
        });
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                allowed.send_to(b"a", "10.77.1.4:5300").unwrap();
                sent.fetch_add(1, Ordering::Relaxed);
                thread::sleep(PROBE);
            }
        });
        for _ in 0..5 {
            thread::sleep(Duration::from_millis(300));
            std::mem::replace(&mut running, Running::start(agent(&stage, mode, &[]))).kill();
        }
        let count = |count: &AtomicU32| count.load(Ordering::Relaxed);
        stage.until("enough was tried", |_| count(&tried) > 200 && count(&sent) > 100);
        let since = stream.heard();
        stage.until("the stream goes on", |_| stream.goes_on_since(since));
        ended.store(true, Ordering::Relaxed);
    });
    let [tried, passed, sent, came] =
        [tried, passed, sent, came].map(|count| count.load(Ordering::Relaxed));
    assert_eq!(passed, 0, "of {tried} that are denied");
    assert_eq!(came, sent, "of those that are allowed");
}
