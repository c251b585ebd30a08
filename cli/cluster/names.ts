/** Annotation by which a pod, or all pods of a namespace, ask for network services. */
export const annotation = 'networkservicemesh.io'

/** Label or annotation that switches injection on or off. */
export const injectKey = 'networkservicemesh.io/inject'

/** Condition of a pod that is true while all its connections are up. */
export const conditionType = 'networkservicemesh.io/connected'

/** The one configuration of our webhook. */
export const webhookName = 'nsm-mutating-webhook.networkservicemesh.io'

/** Where the API server has our custom resources. */
export const resourcesPath = '/apis/networkservicemesh.io/v1'

/** What a person who has no mesh in the cluster does next. */
export const howToInstall = 'helm install nsm charts/nsm --namespace nsm-system --create-namespace'
