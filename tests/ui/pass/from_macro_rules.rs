macro_rules! serve {
    ($name:ident, $timeout:literal, $lame_duck:expr, $signal:ident, $returned:ty) => {
        #[graceful::main(timeout = $timeout, lame_duck = $lame_duck, signals = [$signal])]
        async fn $name() -> $returned {
            Ok(())
        }
    };
}

serve!(main, "5s", "0s", TERM, std::io::Result<()>);
