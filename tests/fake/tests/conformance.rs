//! The table of API server cases against the fake; `conformance_real` holds the real one against it.

use smallfleet_fake::cases::{Bench, CASES};

#[tokio::test(start_paused = true)]
async fn the_fake_server_passes_the_table() {
    use smallfleet_fake::server::{Connection, FakeServer, Fault, Store};

    for case in CASES {
        let server = FakeServer::new(Store::default(), || "2026-01-01T00:00:00Z".to_owned());
        // A real server's history does not begin at 1 either.
        server.change(|store| {
            for _ in 0..3 {
                let key = smallfleet_fake::server::Key::new(
                    smallfleet_fake::server::kinds::named("Namespace"),
                    "",
                    "shop",
                );
                store.put(&key, serde_json::json!({"metadata": {"name": "shop"}}));
            }
            store.compact();
        });
        let connection = Connection::new("case", Fault::None);
        let shedding = Connection::new("shed", Fault::RefuseRead { read: 1, code: 429 });
        let bench = Bench::new(server.client(&connection), server.client(&shedding), "shop");
        if let Err(error) = (case.run)(bench).await {
            panic!("{}: {error:#}", case.name);
        }
    }
    println!("{} cases passed on the fake server", CASES.len());
}
