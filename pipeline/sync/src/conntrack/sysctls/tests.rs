use super::*;

/// A host with the kernel's own defaults, for so many CPUs.
fn fresh(cpus: u32) -> Found {
    Found::new(
        cpus,
        [
            (Setting::Max, 65_536),
            (Setting::HashSize, 16_384),
            (Setting::TcpEstablished, 432_000),
            (Setting::TcpCloseWait, 60),
            (Setting::Udp, 30),
            (Setting::UdpStream, 120),
            (Setting::TcpBeLiberal, 0),
        ],
    )
}

fn with(mut found: Found, setting: Setting, value: u64) -> Found {
    found.values.insert(setting, value);
    found
}

fn wanted(wishes: &Wishes, found: &Found) -> Vec<(Setting, u64)> {
    plan(wishes, found).iter().map(|one| (one.setting, one.to)).collect()
}

#[test]
fn a_fresh_host_gets_a_greater_table_and_no_longer_timeout() {
    assert_eq!(
        wanted(&Wishes::default(), &fresh(2)),
        [(Setting::Max, 131_072), (Setting::HashSize, 32_768), (Setting::TcpEstablished, 86_400)]
    );
}

/// kubernetes#71261: the host's operator knows better.
#[test]
fn a10_a_greater_limit_stays() {
    let host = with(fresh(2), Setting::Max, 1_000_000);
    // The hash table follows the limit that the host has, as it should have before.
    assert_eq!(
        wanted(&Wishes::default(), &host),
        [(Setting::HashSize, 250_000), (Setting::TcpEstablished, 86_400)]
    );
    let host = with(host, Setting::HashSize, 262_144);
    assert_eq!(wanted(&Wishes::default(), &host), [(Setting::TcpEstablished, 86_400)]);
}

/// kubernetes#97377: an hour of close-wait fills the table.
#[test]
fn a10_the_close_wait_timeout_is_raised_when_asked_alone() {
    let host = fresh(2);
    let close_wait = |wishes: Wishes| {
        let all = wanted(&wishes, &host);
        all.into_iter().find(|(setting, _)| *setting == Setting::TcpCloseWait)
    };
    assert_eq!(close_wait(Wishes::default()), None);
    let asked = Wishes { tcp_close_wait: Timeout::Exactly(3_600), ..Wishes::default() };
    assert_eq!(close_wait(asked), Some((Setting::TcpCloseWait, 3_600)));
    let left = Wishes { tcp_established: Timeout::Leave, ..Wishes::default() };
    assert!(wanted(&left, &host).iter().all(|(setting, _)| *setting != Setting::TcpEstablished));
}

#[test]
fn the_limit_grows_with_the_cpus_up_to_the_cap_and_not_below_the_floor() {
    let limit = |cpus, max_per_core, min| {
        let wishes = Wishes { max_per_core, min, ..Wishes::default() };
        let all = wanted(&wishes, &fresh(cpus));
        all.into_iter().find(|(setting, _)| *setting == Setting::Max).map(|(_, value)| value)
    };
    assert_eq!(limit(1, 32_768, 131_072), Some(131_072));
    assert_eq!(limit(4, 32_768, 131_072), Some(131_072));
    assert_eq!(limit(8, 32_768, 131_072), Some(262_144));
    assert_eq!(limit(512, 32_768, 131_072), Some(u64::from(CAP)));
    assert_eq!(limit(512, 32_768, 2_000_000), Some(2_000_000), "the floor is not capped");
    assert_eq!(limit(4096, u32::MAX, 0), Some(u64::from(CAP)), "no overflow");
    assert_eq!(limit(8, 0, 131_072), None, "left to the host");
    assert_eq!(limit(1, 1, 0), None, "never lowered");
}

#[test]
fn a_limit_that_is_left_leaves_the_hash_table_too() {
    let host = with(fresh(8), Setting::HashSize, 1);
    let wishes = Wishes { max_per_core: 0, ..Wishes::default() };
    assert!(wanted(&wishes, &host).iter().all(|(setting, _)| *setting != Setting::HashSize));
}

#[test]
fn be_liberal_is_switched_on_and_never_off() {
    let on = Wishes { tcp_be_liberal: true, ..Wishes::default() };
    assert!(wanted(&on, &fresh(2)).contains(&(Setting::TcpBeLiberal, 1)));
    let host = with(fresh(2), Setting::TcpBeLiberal, 1);
    for wishes in [on, Wishes::default()] {
        assert!(wanted(&wishes, &host).iter().all(|(one, _)| *one != Setting::TcpBeLiberal));
    }
}

#[test]
fn what_cannot_be_read_is_left_alone() {
    assert_eq!(wanted(&Wishes::default(), &Found::new(8, [])), []);
}

#[test]
fn lists_of_cpus_are_counted() {
    assert_eq!(count_list("0"), Some(1));
    assert_eq!(count_list("0-3"), Some(4));
    assert_eq!(count_list("0-3,8,10-11"), Some(7));
    assert_eq!(count_list(""), None);
    assert_eq!(count_list("3-0"), None);
    assert_eq!(count_list("0-4294967295"), None);
}

/// Everything is read, written where it differs, and read again; what is missing fails alone.
#[test]
fn files_are_read_and_written() {
    let root = std::env::temp_dir().join(format!("sysctls-{}", std::process::id()));
    let files = [
        (Setting::Max, "65536\n"),
        (Setting::HashSize, "16384\n"),
        (Setting::TcpEstablished, "432000\n"),
    ];
    for (setting, text) in files {
        let path = root.join(setting.path());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let online = root.join("sys/devices/system/cpu/online");
    fs::create_dir_all(online.parent().unwrap()).unwrap();
    fs::write(&online, "0-7\n").unwrap();
    let found = read(&root);
    assert_eq!(found.cpus, 8);
    assert_eq!(found.value(Setting::TcpCloseWait), None);
    let adjustments = plan(&Wishes::default(), &found);
    assert!(apply(&root, &adjustments).iter().all(|(_, result)| result.is_ok()));
    let after = read(&root);
    assert_eq!(after.value(Setting::Max), Some(262_144));
    assert_eq!(after.value(Setting::HashSize), Some(65_536));
    assert_eq!(plan(&Wishes::default(), &after), []);
    fs::remove_dir_all(&root).unwrap();
    let failed = apply(&root, &adjustments);
    let text = failed[0].1.as_ref().unwrap_err().to_string();
    assert!(text.contains("write 262144 to") && text.contains("nf_conntrack_max"), "{text}");
}
