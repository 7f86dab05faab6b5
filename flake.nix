{
  description = "Lets every app use the AI subscription you already pay for";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
        "aarch64-darwin"
      ];
      each = f: nixpkgs.lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
      manifest = (builtins.fromTOML (builtins.readFile ./Cargo.toml)).package;
    in
    {
      packages = each (pkgs: {
        default = pkgs.rustPlatform.buildRustPackage {
          pname = manifest.name;
          inherit (manifest) version;
          src = self;
          cargoLock.lockFile = ./Cargo.lock;
          buildType = "dist";
          nativeBuildInputs = [ pkgs.installShellFiles ];
          # The tests install apps from the network.
          doCheck = false;
          postInstall = ''
            $out/bin/hermesctl man --dir made/man
            $out/bin/hermesctl completions --dir made/completions
            installManPage made/man/*
            installShellCompletion --bash made/completions/bash/*
            installShellCompletion --zsh made/completions/zsh/*
            installShellCompletion --fish made/completions/fish/*
            install -Dm644 -t $out/share/hermes-proxyd packaging/hermes-proxyd.schema.json
            sh packaging/documents.sh $out/share/doc/hermes-proxyd
            for unit in systemd/*; do
              install -Dm644 $unit $out/lib/systemd/user/$(basename $unit)
            done
            substituteInPlace $out/lib/systemd/user/*.service --replace-fail %h/.local/bin/ $out/bin/
          '';
          meta = {
            inherit (manifest) description homepage;
            license = with pkgs.lib.licenses; [
              mit
              asl20
            ];
            mainProgram = "hermesctl";
          };
        };
      });
    };
}
