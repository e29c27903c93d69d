//! Alerts about a shell whose connection another process has made.

use super::*;
use sensor::detect::rule::REVERSE_SHELL;
use sensor::render::block::block;
use sensor::render::look::Look;

/// An execution in a process that has inherited the connection of [`connection`] from another one.
pub(super) fn exec_below(maker: u32, generations: u8) -> (Value, Value) {
    let made = Connection { process: process(maker), ..connected(Direction::Attempted) };
    let executed = Exec { connection: Some(made.clone()), generations, ..execution(&["bash", "-i"]) };
    (origin().connection(&made, 1, &extras()), origin().exec(&executed, 2, &extras()))
}

fn told(maker: u32, generations: u8) -> Value {
    let (connection, exec) = exec_below(maker, generations);
    document(&Finding { rule: &REVERSE_SHELL, ..finding(&connection, &exec) }, CREATED)
}

#[test]
fn the_process_is_the_shell_and_the_connection_says_who_made_it() {
    let alert = told(77, 2);
    assert_eq!(alert["process"]["pid"], 4242);
    assert_eq!(alert["sensor"]["sequence"][0]["process"]["pid"], 77);
    assert_eq!(alert["sensor"]["inherited"]["pid"], 77);
    assert_eq!(alert["sensor"]["inherited"]["generations"], 2);
    assert_eq!(alert["destination"]["ip"], "198.51.100.1");
    let message = alert["message"].as_str().unwrap();
    assert!(message.contains("13 ms after its ancestor bash (pid 77) connected to 198.51.100.1:4444"), "{message}");
}

#[test]
fn a_parent_is_called_so() {
    let parent = lineage().ancestors[0].key.tgid;
    let message = told(parent, 1)["message"].as_str().unwrap().to_owned();
    assert!(message.contains(&format!("after its parent bash (pid {parent}) connected to")), "{message}");
}

#[test]
fn a_connection_of_its_own_is_not_an_ancestors() {
    let alert =
        document(&finding(&connection(Direction::Attempted, &extras()), &exec(&["bash", "-i"], &extras())), CREATED);
    assert!(alert["message"].as_str().unwrap().contains("after the same process connected to"), "{alert}");
    assert!(alert["sensor"].get("inherited").is_none());
}

#[test]
fn the_connection_hangs_on_the_process_that_made_it_or_says_that_it_is_gone() {
    let drawn = |maker, generations| block(&told(maker, generations), Look { width: 120, colour: false });
    let parent = lineage().ancestors[0].key.tgid;
    let below_parent = drawn(parent, 1);
    assert!(!below_parent.contains("gone"), "{below_parent}");
    let (arrow, shell) = (below_parent.find("\u{25b6} 198.51.100.1:4444"), below_parent.find("bash pid 4242"));
    assert!(arrow.unwrap() < shell.unwrap(), "{below_parent}");
    let gone = drawn(77, 2);
    assert!(gone.contains("0 ms  by bash (pid 77), gone 10.0.0.9:40000"), "{gone}");
}
