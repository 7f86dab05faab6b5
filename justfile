# Short names for longer commands; each is a script that runs without just, too.

# What there is
default:
    @just --list

# Every package that this machine can build, into target/packages
package *flags:
    packaging/all.sh {{flags}}

# One kind of package: deb, rpm, static, windows, image or texts
package-one kind:
    packaging/{{kind}}.sh

# Install and run the packages that were built
package-test *names:
    tests/packages/run {{names}}

# All that a change must pass
ci:
    .ci/run

# The lints for Windows and macOS
platforms:
    .ci/platforms
