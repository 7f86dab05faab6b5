export HERMES_PROXYD_KEY={{key}}
