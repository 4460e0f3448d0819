//! The settings without which an acknowledged event could be lost, and what `up` does on a machine that is not as it should be.

use std::path::Path;
use std::process::Command;

use crate::shop::Shop;

#[tokio::test(flavor = "multi_thread")]
async fn the_database_writes_through_and_the_doctor_checks_it() {
    let shop = Shop::empty().await;
    let settings = infra::postgres::durability(&shop.pool().await).await.unwrap();
    let expected = ["fsync", "full_page_writes", "synchronous_commit"].map(|name| (name.to_owned(), "on".to_owned()));
    assert_eq!(settings, expected);
    let doctor = shop.cli(&["doctor"]);
    for (name, _) in expected {
        assert!(doctor.contains(&name), "{doctor}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_up_says_that_the_shop_runs_and_two_shops_do_not_collide() {
    let shop = Shop::empty().await;
    let (code, _, said) = shop.cli_code(&["up", "--port", "0"]);
    assert_ne!(code, 0);
    assert!(said.contains("in use by a running"), "{said}");
    let other = Shop::empty().await;
    assert_ne!(shop.url, other.url);
    other.get("/v1/store").await.expect(200);
    shop.get("/v1/store").await.expect(200);

    let port = shop.url.rsplit(':').next().unwrap();
    let dir = std::env::temp_dir().join(format!("daybook-test-{}", uuid::Uuid::new_v4().simple()));
    let taken =
        Command::new(env!("CARGO_BIN_EXE_daybook-under-test")).args(["up", "--port", port, "--data-dir"]).arg(&dir).output().unwrap();
    let said = String::from_utf8_lossy(&taken.stderr);
    assert!(said.contains("is taken") && said.contains("--port"), "{said}");
}

#[test]
fn a_missing_or_old_program_is_met_with_its_fix() {
    let dir = std::env::temp_dir().join(format!("daybook-test-{}", uuid::Uuid::new_v4().simple()));
    let up = |name: &str, value: &Path| {
        let output = Command::new(env!("CARGO_BIN_EXE_daybook-under-test"))
            .args(["up", "--port", "0", "--data-dir"])
            .arg(&dir)
            .env(name, value)
            .output()
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = up("DAYBOOK_PG_BIN_DIR", Path::new("/nonexistent"));
    assert!(said.contains("DAYBOOK_PG_BIN_DIR") || said.contains("install"), "{said}");

    std::fs::create_dir_all(&dir).unwrap();
    let old = dir.join("old-nats-server");
    std::fs::write(&old, "#!/bin/sh\necho nats-server: v2.9.10\n").unwrap();
    std::fs::set_permissions(&old, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let said = up("DAYBOOK_NATS_SERVER", &old);
    assert!(said.contains("2.9.10") && said.contains("2.10"), "{said}");
    let _left = std::fs::remove_dir_all(&dir);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_without_its_secrets_is_not_opened() {
    let mut shop = Shop::empty().await;
    shop.stop();
    let secrets = shop.dir.join("secrets.json");
    std::fs::rename(&secrets, shop.dir.join("kept")).unwrap();
    let (code, _, said) = shop.cli_code(&["up", "--port", "0"]);
    assert_ne!(code, 0);
    assert!(said.contains("secrets.json is missing") && said.contains("backup"), "{said}");
    let (_, _, said) = shop.cli_code(&["projections"]);
    assert!(said.contains("no shop runs in"), "{said}");
    std::fs::rename(shop.dir.join("kept"), &secrets).unwrap();
    shop.restart().await;
    shop.get("/v1/store").await.expect(200);
}
