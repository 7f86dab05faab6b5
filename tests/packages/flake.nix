# Evaluates the project's flake with a stand-in for nixpkgs: what each system's package is given. Fails on
# whatever the stand-in does not have, and so on a name that is written wrong.
{ flake }:
let
  packages =
    (import flake).outputs {
      self = "the sources";
      nixpkgs = {
        lib.genAttrs =
          names: f:
          builtins.listToAttrs (
            map (name: {
              inherit name;
              value = f name;
            }) names
          );
        legacyPackages = builtins.listToAttrs (
          map
            (name: {
              inherit name;
              value = nixpkgs;
            })
            [
              "x86_64-linux"
              "aarch64-linux"
              "aarch64-darwin"
            ]
        );
      };
    };
  nixpkgs = {
    rustPlatform.buildRustPackage = given: given // { cargoLock = builtins.pathExists given.cargoLock.lockFile; };
    installShellFiles = "installShellFiles";
    lib.licenses = {
      mit = "MIT";
      asl20 = "Apache-2.0";
    };
  };
in
builtins.mapAttrs (_: of: of.default) packages.packages
