//! A service that nginx can never send requests to.

use super::*;

fn unroutable() -> ServiceSetup {
    ServiceSetup {
        unroutable: Some("its name is no name; give it another".into()),
        ..setup()
    }
}

#[test]
fn a_count_by_hand_is_refused_at_once_whatever_it_is() {
    for count in [1, 2, 3] {
        let mut bench = MachineBench::blind(unroutable(), None);
        bench.see(&[1, 2]);
        bench.ready(1);
        bench.ready(2);
        assert_eq!(
            told(&bench.scale(count)),
            [unroutable().unroutable.unwrap()]
        );
        assert_eq!(
            (bench.machine.desired(), bench.machine.hold),
            (Some(2), None)
        );
    }
}

#[test]
fn load_makes_no_replica_of_it_and_that_is_said_once_until_the_file_is_right() {
    let mut bench = MachineBench::blind(unroutable(), None);
    bench.machine.expect_a_look();
    bench.see(&[1]);
    bench.ready(1);
    let seq = bench.machine.routing.seq;
    let result = Err(unroutable().unroutable.unwrap());
    let refused = told(&bench.hear(Event::Routed { seq, result }));
    assert_eq!(refused, [unroutable().unroutable.unwrap()]);
    let creates = |effects: &[Effect]| effects.iter().any(|e| matches!(e, Effect::Create { .. }));
    for _ in 0..3 {
        // A look at nginx itself finds nothing wrong.
        bench.hear(Event::Way {
            barred: None,
            nginx: Some("nginx".into()),
        });
        let effects = bench.load(100);
        assert!(!creates(&effects));
        assert!(!told(&effects).iter().any(|line| line.contains("no name")));
    }
    bench.hear(Event::Setup(Box::new(setup())));
    bench.hear(Event::Way {
        barred: None,
        nginx: Some("nginx".into()),
    });
    bench.routed();
    assert!(creates(&bench.load(100)));
}
